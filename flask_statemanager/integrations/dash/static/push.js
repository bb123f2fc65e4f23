/* StoreListener of Flask-StateManager: one event stream a tab tells which stores of this user changed elsewhere. */
(function () {
  "use strict";

  const STREAM = "_statemanager/stores";
  const CALLBACKS = "_dash-update-component";
  const REQUEST_ID = "X-Request-ID";
  const AT_MOST_EVERY = 100; // milliseconds between two runs of a callback
  const LATELY = 10000; // what was heard so long before a listener is mounted may not be known to its page
  const HIDDEN_FOR = 30000; // then a hidden tab gives its connection back: browsers have six for all tabs
  const LONGEST_PAUSE = 60000;

  const tab = Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const listeners = new Set();
  const seen = new Map(); // by store: the last version, when it was heard of, whether it is there
  let asked = 0;
  let source = null;
  let cursor = "";
  let pause = 1000;
  let again = null;
  let leaving = null;

  /* What this tab writes is known by the id of the request that writes it. */

  const prefix = JSON.parse(document.getElementById("_dash-config").textContent).requests_pathname_prefix;
  const callbacks = new URL(prefix + CALLBACKS, document.baseURI);
  const send = window.fetch;

  window.fetch = function (resource, options) {
    return send.call(window, resource, isCallback(resource) ? marked(options) : options);
  };

  function isCallback(resource) {
    if (typeof resource !== "string") {
      return false;
    }
    const url = new URL(resource, document.baseURI);
    return url.origin === callbacks.origin && url.pathname === callbacks.pathname;
  }

  function marked(options) {
    const headers = new Headers(options && options.headers);
    if (!headers.has(REQUEST_ID)) {
      asked += 1;
      headers.set(REQUEST_ID, `${tab}-${asked}`);
    }
    return { ...options, headers };
  }

  /* The stream. */

  function connect() {
    clearTimeout(again);
    if (source !== null || listeners.size === 0) {
      return;
    }
    const since = cursor === "" ? "" : `?since=${encodeURIComponent(cursor)}`;
    source = new EventSource(prefix + STREAM + since);
    source.onopen = () => {
      pause = 1000;
    };
    source.onmessage = heard;
    source.onerror = () => {
      // It comes again by itself, unless the server refused it.
      if (source !== null && source.readyState === EventSource.CLOSED) {
        leave();
        again = setTimeout(connect, pause * (0.5 + Math.random()));
        pause = Math.min(2 * pause, LONGEST_PAUSE);
      }
    };
  }

  function leave() {
    if (source !== null) {
      source.close();
      source = null;
    }
    clearTimeout(again);
  }

  function heard(event) {
    cursor = event.lastEventId || cursor;
    const message = JSON.parse(event.data);
    if (message.type === "state_change") {
      changed(message.data);
    } else if (message.type === "compacted") {
      seen.clear();
      listeners.forEach((listener) => listener.tell(null));
    }
  }

  function changed(data) {
    const known = seen.get(data.store);
    if (known !== undefined && data.version === known.version) {
      return; // a lower one is news, too: in another backend versions begin again
    }
    const own = typeof data.request === "string" && data.request.startsWith(`${tab}-`);
    const shown = data.exists ? data.version : 0;
    seen.set(data.store, { version: data.version, shown, at: own ? -LATELY : performance.now() });
    if (!own) {
      listeners.forEach((listener) => {
        if (listener.name === data.store) {
          listener.tell(shown);
        }
      });
    }
  }

  document.addEventListener("visibilitychange", () => {
    clearTimeout(leaving);
    if (document.visibilityState === "hidden") {
      leaving = setTimeout(leave, HIDDEN_FOR);
    } else {
      connect();
    }
  });

  /* The listeners. */

  function listen(name, from, say) {
    let next = 0;
    let later = null;
    let told = null;
    const out = () => {
      later = null;
      next = performance.now() + AT_MOST_EVERY;
      say(told);
    };
    const listener = {
      name,
      tell(version) {
        told = version;
        if (later === null) {
          later = setTimeout(out, Math.max(0, next - performance.now()));
        }
      },
    };
    listeners.add(listener);
    cursor = cursor || from;
    const known = seen.get(name);
    if (known !== undefined && performance.now() - known.at < LATELY) {
      listener.tell(known.shown);
    }
    connect();
    return () => {
      clearTimeout(later);
      listeners.delete(listener);
      if (listeners.size === 0) {
        // The next page may have its own at once.
        setTimeout(() => listeners.size === 0 && leave(), 1000);
      }
    };
  }

  function StoreListener(props) {
    const present = React.useRef(props);
    const count = React.useRef(props.changes || 0);
    present.current = props;
    React.useEffect(() => {
      const from = props.cursor;
      if (from === null || from === undefined) {
        return undefined; // the browser keeps its stores itself
      }
      return listen(props.name, from, (version) => {
        count.current += 1;
        present.current.setProps({ changes: count.current, version });
      });
    }, [props.name]);
    return null;
  }

  window.flask_statemanager = { ...window.flask_statemanager, StoreListener };
})();
