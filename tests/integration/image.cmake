add_executable(image_tool image_tool.c)
target_link_libraries(image_tool PRIVATE tt_flags tt_image tt_crypto)
add_test(NAME integration.oci_tools
         COMMAND "${CMAKE_CURRENT_SOURCE_DIR}/oci_tools_test.sh" "$<TARGET_FILE:image_tool>")
set_tests_properties(integration.oci_tools PROPERTIES LABELS integration TIMEOUT 300 SKIP_RETURN_CODE 77)
