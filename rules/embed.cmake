# Puts rules/nanp.csv into the binary: one generated C file, a row of nanp_rows for each area code.
# Included by the top CMakeLists.txt (adds the file to the library), and run as a script by that rule.
if(NOT CMAKE_SCRIPT_MODE_FILE)
    add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/gateway_nanp.c
        COMMAND ${CMAKE_COMMAND} -D OUT=${CMAKE_BINARY_DIR}/gateway_nanp.c -P ${CMAKE_CURRENT_LIST_DIR}/embed.cmake
        DEPENDS ${CMAKE_CURRENT_LIST_DIR}/nanp.csv ${CMAKE_CURRENT_LIST_DIR}/embed.cmake)
    target_sources(gateway PRIVATE ${CMAKE_BINARY_DIR}/gateway_nanp.c)
    return()
endif()

file(STRINGS ${CMAKE_CURRENT_LIST_DIR}/nanp.csv rows REGEX "^[0-9]")
set(code "/* Made from rules/nanp.csv by rules/embed.cmake. */\n#include \"gateway/nanp.h\"\n\n")
string(APPEND code "const struct nanp_row nanp_rows[NANP_CODES] = {\n")
foreach(row ${rows})
    if(NOT row MATCHES "^([2-9][0-9][0-9]),([A-Z -]*),([A-Za-z_/ -]+),[0-9-]+$")
        message(FATAL_ERROR "rules/nanp.csv: this is no row of an area code: ${row}")
    endif()
    string(APPEND code "    [${CMAKE_MATCH_1}] = {\"${CMAKE_MATCH_2}\", \"${CMAKE_MATCH_3}\"},\n")
endforeach()
file(WRITE ${OUT} "${code}};\n")
