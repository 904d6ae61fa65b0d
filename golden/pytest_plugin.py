"""pytest plugin: `golden_check` and `@pytest.mark.golden(...)`."""
