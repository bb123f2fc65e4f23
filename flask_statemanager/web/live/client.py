"""One client of the streams, as the hub knows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .cursors import furthest, is_behind, reaches, written
from .interest import Audience, Interest
from .log import Entry
from .mailbox import Farewell, Mailbox
from .messages import COMPACTED, SUBSCRIBED, Frame
from .news import News

PATIENCE = 30.0
"""Seconds in which a client has to read something of what waits for it, or to be gone once its stream was ended."""


class Client:
    """Who listens, to what, and what waits for it.

    :param audience: who it is.
    :param interest: what it asked for.
    :param logs: the logs that its buckets lie in, by name and sorted, with which of them lie there.
    :param mailbox: what waits for it.
    :param abort: breaks its connection off, whatever its thread waits for.
    """

    def __init__(
        self,
        audience: Audience,
        interest: Interest,
        logs: Mapping[str, tuple[str, ...]],
        mailbox: Mailbox,
        abort: Callable[[], None] = lambda: None,
    ) -> None:
        self.audience = audience
        self.interest = interest
        self.logs = logs
        self.mailbox = mailbox
        self._abort = abort
        self._seen: tuple[int, Farewell | None, bool] | None = None
        self._still = 0.0

    def watch_over(self, now: float) -> bool:
        """End the stream when the client does not read, and break it off when it has been ended for too long.

        :param now: a moment, in seconds.
        :returns: whether it was ended now.
        """
        mailbox = self.mailbox
        seen = (mailbox.delivered, mailbox.farewell, mailbox.waits)
        if seen != self._seen or not (mailbox.waits or mailbox.farewell):
            self._seen, self._still = seen, now
        if now - self._still < PATIENCE:
            return False
        self._still = now
        if mailbox.farewell is None:
            mailbox.end(Farewell.SLOW)
            return True
        self._abort()
        return False


class Newcomer:
    """A client that has yet to meet the others: it reads the log by itself while new changes are held for it.

    When it has read beyond where the hub was as it came, what is held and lies behind what it has read is given to it.
    From then on it only differs from others in that some of what the hub has yet to tell is known to it.

    :param client: the client.
    :param most: how many changes are held at most.
    """

    def __init__(self, client: Client, most: int) -> None:
        self.client = client
        self._most = most
        self._held: list[tuple[str, Entry, News] | tuple[str, str]] | None = []
        self._floor: dict[str, str] = {}

    def hear(self, log: str, entry: Entry, news: News) -> None:
        """Hold a change for the client, or tell it.

        :param log: the name of the log.
        :param entry: the change with its positions.
        :param news: the same, to be told.
        """
        if self._held is None:
            self._tell(log, entry, news)
        elif len(self._held) < self._most:
            self._held.append((log, entry, news))
        else:
            self.client.mailbox.end(Farewell.SLOW)

    def lose(self, log: str, restart: str) -> None:
        """Take note that some of a log is lost to those who listen.

        :param log: the name of the log.
        :param restart: the cursor to go on from.
        """
        if self._held is None:
            self._floor[log] = restart
            self.client.mailbox.offer(Frame(COMPACTED, self._cursor()))
        else:
            self._held.append((log, restart))

    def settle(self, floor: Mapping[str, str]) -> None:
        """Tell the client what was held for it and what it has not read by itself, and that it is up to date.

        :param floor: how far it has read each log.
        """
        self._floor = dict(floor)
        held, self._held = self._held or [], None
        for each in held:
            self.lose(*each) if len(each) == 2 else self._tell(*each)
        self.client.mailbox.offer(Frame(SUBSCRIBED, self._cursor()))

    def met_by(self, positions: Mapping[str, str]) -> bool:
        """Tell whether it is a client like others by now.

        :param positions: how far the hub has told each log.
        """
        return self._held is None and all(reaches(positions[log], cursor) for log, cursor in self._floor.items())

    def _cursor(self) -> str:
        return written(self._floor, self.client.logs)

    def _tell(self, log: str, entry: Entry, news: News) -> None:
        if not is_behind((entry.before, entry.behind), self._floor[log]):
            return
        self._floor[log] = furthest(self._floor[log], entry.behind)
        client = self.client
        if client.interest.takes(news.change):
            sight = news.seen_by(client.audience)
            if sight:
                client.mailbox.offer(news.frame(client.interest.seen(sight), self._cursor()))
