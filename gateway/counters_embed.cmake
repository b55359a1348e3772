# Puts the scripts that Redis runs into the binary: one generated C file, a slice for each.
# Included by the top CMakeLists.txt (adds the file to the library), and run as a script by that rule.
if(NOT CMAKE_SCRIPT_MODE_FILE)
    file(GLOB lua_files CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.lua)
    add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/gateway_lua.c
        COMMAND ${CMAKE_COMMAND} -D OUT=${CMAKE_BINARY_DIR}/gateway_lua.c -P ${CMAKE_CURRENT_LIST_DIR}/counters_embed.cmake
        DEPENDS ${lua_files} ${CMAKE_CURRENT_LIST_DIR}/counters_embed.cmake)
    target_sources(gateway PRIVATE ${CMAKE_BINARY_DIR}/gateway_lua.c)
    target_include_directories(gateway PRIVATE ${CMAKE_CURRENT_LIST_DIR}/..)
    return()
endif()

file(GLOB files ${CMAKE_CURRENT_LIST_DIR}/*.lua)
list(SORT files)
set(code "/* Made from the scripts in gateway by gateway/counters_embed.cmake. */\n#include \"gateway/counters_redis.h\"\n")
foreach(file ${files})
    get_filename_component(name ${file} NAME)
    string(REPLACE "." "_" name ${name})
    file(READ ${file} hex HEX)
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
    string(REPLACE "0x0a," "0x0a,\n" bytes "${bytes}") # a line of ours for a line of the file
    string(APPEND code "\nstatic const unsigned char ${name}_bytes[] = {\n${bytes}0x00};\n")
    string(APPEND code "const struct slice ${name} = {(const char *)${name}_bytes, sizeof(${name}_bytes) - 1};\n")
endforeach()
file(WRITE ${OUT} "${code}")
