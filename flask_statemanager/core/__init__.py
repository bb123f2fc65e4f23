"""The nucleus: values, the one write path, and the ports that backends implement. Plain Python, no framework."""
