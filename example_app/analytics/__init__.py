"""Analytics: a Dash app on the server of the Credit System. What is chosen on its pages is kept in stores.

``CREDIT_STORES`` says where these live: in the ``database``, in a ``redis``, in ``memory``, or with the ``client``; no
line of the pages knows which. It is there where the extras ``dash`` and ``frames`` are installed.
"""
