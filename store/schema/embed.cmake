# Puts store/schema/NNN_*.sql into the binary: one generated C file with the texts in order.
# Included by the top CMakeLists.txt (adds the file to the library), and run as a script by that rule.
if(NOT CMAKE_SCRIPT_MODE_FILE)
    file(GLOB schema_files CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/[0-9][0-9][0-9]_*.sql)
    add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/store_schema.c
        COMMAND ${CMAKE_COMMAND} -D OUT=${CMAKE_BINARY_DIR}/store_schema.c -P ${CMAKE_CURRENT_LIST_DIR}/embed.cmake
        DEPENDS ${schema_files} ${CMAKE_CURRENT_LIST_DIR}/embed.cmake)
    target_sources(store PRIVATE ${CMAKE_BINARY_DIR}/store_schema.c)
    target_include_directories(store PRIVATE ${CMAKE_CURRENT_LIST_DIR}/../..)
    return()
endif()

file(GLOB files ${CMAKE_CURRENT_LIST_DIR}/[0-9][0-9][0-9]_*.sql)
list(SORT files)
set(code "/* Made from store/schema by store/schema/embed.cmake. */\n#include \"store/sqlite.h\"\n\n")
string(APPEND code "const char *const sqlite_schema[] = {\n")
foreach(file ${files})
    file(READ ${file} text)
    string(REPLACE "\\" "\\\\" text "${text}")
    string(REPLACE "\"" "\\\"" text "${text}")
    string(REPLACE "\n" "\\n\"\n\"" text "${text}")
    string(APPEND code "\"${text}\",\n")
endforeach()
list(LENGTH files n)
string(APPEND code "};\nconst size_t sqlite_schema_n = ${n};\n")
file(WRITE ${OUT} "${code}")
