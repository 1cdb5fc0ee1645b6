add_test(NAME integration.docker_store
         COMMAND "${TT_PYTHON}" -B "${CMAKE_CURRENT_SOURCE_DIR}/test_docker_store.py" -v)
set_tests_properties(integration.docker_store PROPERTIES LABELS integration TIMEOUT 600 ENVIRONMENT
  "IMAGE_TOOL=$<TARGET_FILE:image_tool>;PYTHONPATH=${PROJECT_SOURCE_DIR}/tests")
