tt_unit_test(decisions KNOWS protocol archive train crypto trust)
target_link_options(test_decisions PRIVATE -Wl,--wrap=tt_trust_check)
