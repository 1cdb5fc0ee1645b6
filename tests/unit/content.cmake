tt_unit_test(content KNOWS protocol image archive crypto)
tt_failing_calls(test_content)
