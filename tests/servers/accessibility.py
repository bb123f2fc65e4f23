"""Whether everybody can use a page, as far as a program can tell: axe-core looks at it in the browser."""

from __future__ import annotations

from selenium import webdriver

from tests.servers.executables import axe_script

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
"""What is asked for: WCAG at the levels A and AA, and what is good practice beyond."""

_RUN = """
const [rules, done] = arguments;
axe.run(document, {runOnly: {type: "tag", values: rules}, resultTypes: ["violations"]}).then(
  (found) => done(found.violations.flatMap((rule) => rule.nodes.map(
    (node) => `${rule.id}: ${rule.help}: ${node.html.slice(0, 300)}: ${node.failureSummary}`
  ))),
  (error) => done([String(error)])
);
"""


def violations(window: webdriver.Remote) -> list[str]:
    """Return what keeps somebody from using the page that a browser shows.

    :param window: the browser.
    :returns: a line each: the rule, the element, what is wrong with it.
    :raises ServerMissing: when axe-core was not fetched.
    """
    window.set_script_timeout(120)
    if not window.execute_script("return typeof axe === 'object'"):
        window.execute_script(axe_script().read_text(encoding="utf-8"))
    return [str(each) for each in window.execute_async_script(_RUN, RULES)]
