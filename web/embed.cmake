# Puts the templates, the stylesheet and the icon of web/ into the binary: one generated C file, a slice for each file.
# Included by the top CMakeLists.txt (adds the file to the library), and run as a script by that rule.
if(NOT CMAKE_SCRIPT_MODE_FILE)
    file(GLOB web_files CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.html ${CMAKE_CURRENT_LIST_DIR}/*.css
        ${CMAKE_CURRENT_LIST_DIR}/*.svg)
    add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/gateway_web.c
        COMMAND ${CMAKE_COMMAND} -D OUT=${CMAKE_BINARY_DIR}/gateway_web.c -P ${CMAKE_CURRENT_LIST_DIR}/embed.cmake
        DEPENDS ${web_files} ${CMAKE_CURRENT_LIST_DIR}/embed.cmake)
    target_sources(gateway PRIVATE ${CMAKE_BINARY_DIR}/gateway_web.c)
    target_include_directories(gateway PRIVATE ${CMAKE_CURRENT_LIST_DIR}/..)
    return()
endif()

file(GLOB files ${CMAKE_CURRENT_LIST_DIR}/*.html ${CMAKE_CURRENT_LIST_DIR}/*.css ${CMAKE_CURRENT_LIST_DIR}/*.svg)
list(SORT files)
set(code "/* Made from web/ by web/embed.cmake. */\n#include \"gateway/pages_web.h\"\n")
foreach(file ${files})
    get_filename_component(name ${file} NAME)
    string(REPLACE "." "_" name ${name})
    # As numbers: a text of any length and with any character (CMake's lists split at ';').
    file(READ ${file} hex HEX)
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
    string(REPLACE "0x0a," "0x0a,\n" bytes "${bytes}") # a line of ours for a line of the file
    string(APPEND code "\nstatic const unsigned char ${name}[] = {\n${bytes}0x00};\n")
    string(APPEND code "const struct slice web_${name} = {(const char *)${name}, sizeof(${name}) - 1};\n")
endforeach()
file(WRITE ${OUT} "${code}")
