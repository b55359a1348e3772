# Puts files into the binary: one generated C file, a slice for each template, stylesheet and icon of web/ (web_NAME)
# and for each script that Redis runs (NAME).
# Included by the top CMakeLists.txt (adds the file to the library), and run as a script by that rule.
set(web ${CMAKE_CURRENT_LIST_DIR}/../web)
set(patterns ${web}/*.html ${web}/*.css ${web}/*.svg ${CMAKE_CURRENT_LIST_DIR}/*.lua)
if(NOT CMAKE_SCRIPT_MODE_FILE)
    file(GLOB embedded_files CONFIGURE_DEPENDS ${patterns})
    add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/gateway_embedded.c
        COMMAND ${CMAKE_COMMAND} -D OUT=${CMAKE_BINARY_DIR}/gateway_embedded.c -P ${CMAKE_CURRENT_LIST_DIR}/embed.cmake
        DEPENDS ${embedded_files} ${CMAKE_CURRENT_LIST_DIR}/embed.cmake)
    target_sources(gateway PRIVATE ${CMAKE_BINARY_DIR}/gateway_embedded.c)
    target_include_directories(gateway PRIVATE ${CMAKE_CURRENT_LIST_DIR}/..)
    return()
endif()

file(GLOB files ${patterns})
list(SORT files)
set(code "/* Made from web/ and the scripts in gateway/ by gateway/embed.cmake. */\n")
string(APPEND code "#include \"gateway/counters_redis.h\"\n#include \"gateway/pages_web.h\"\n")
foreach(file ${files})
    get_filename_component(name ${file} NAME)
    string(REPLACE "." "_" name ${name})
    if(NOT file MATCHES "\\.lua$")
        string(PREPEND name "web_")
    endif()
    # As numbers: a text of any length and with any character (CMake's lists split at ';').
    file(READ ${file} hex HEX)
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
    string(REPLACE "0x0a," "0x0a,\n" bytes "${bytes}") # a line of ours for a line of the file
    string(APPEND code "\nstatic const unsigned char ${name}_bytes[] = {\n${bytes}0x00};\n")
    string(APPEND code "const struct slice ${name} = {(const char *)${name}_bytes, sizeof(${name}_bytes) - 1};\n")
endforeach()
file(WRITE ${OUT} "${code}")
