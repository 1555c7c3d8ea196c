"""Loads what the tests share: in every process but the one that only hands tests out to others,
where the imports would take seconds.
"""


def pytest_configure(config):
    hands_out = config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput")
    if not hands_out:
        config.pluginmanager.import_plugin("common")
