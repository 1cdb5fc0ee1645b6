tt_unit_test(decisions KNOWS protocol archive train crypto trust)
