"""The hub: gives what the readers of the logs bring to the clients of one process."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime

from ...core.clock import Clock
from ...core.record import Change
from ...tracking.propagation import FULL, Propagation, Reaches, Sight
from .client import Client, Newcomer
from .cursors import written
from .interest import EVERYTHING, Audience, Interest
from .log import Entry, Stretch
from .mailbox import Farewell
from .messages import COMPACTED, HEARTBEAT, SUBSCRIBED, Frame
from .news import News
from .terms import Terms


class Group:
    """Clients that have asked for the same.

    :param like: one of them.
    """

    def __init__(self, like: Client) -> None:
        self.logs = like.logs
        self._interest = like.interest
        self.clients: dict[Client, None] = {}
        self._by_audience: dict[Audience, dict[Client, None]] = {}

    def add(self, client: Client) -> None:
        """Take a client in.

        :param client: the client.
        """
        self.clients[client] = None
        self._by_audience.setdefault(client.audience, {})[client] = None

    def remove(self, client: Client) -> None:
        """Let a client go.

        :param client: one of :attr:`clients`.
        """
        del self.clients[client]
        among = self._by_audience[client.audience]
        del among[client]
        if not among:
            del self._by_audience[client.audience]

    def tell(self, news: News, positions: Mapping[str, str]) -> int:
        """Give a change to the clients, where it is of interest and may be seen.

        :param news: the change.
        :param positions: how far each log was told, this change included.
        :returns: to how many.
        """
        if not self._interest.takes(news.change):
            return 0
        cursor, told = written(positions, self.logs), 0
        for sight, clients in self._seeing(news.reaches):
            frame = news.frame(self._interest.seen(sight), cursor)
            for client in clients:
                client.mailbox.offer(frame)
            told += len(clients)
        return told

    def _seeing(self, reaches: Reaches) -> Iterator[tuple[Sight, Collection[Client]]]:
        """Yield who sees what, without asking each of many users where few are meant."""
        before, after = reaches.before, reaches.after
        if before.everyone and after.everyone:
            yield FULL, self.clients
            return
        named = {Audience(user) for user in before.users | after.users}
        some = before.everyone or after.everyone
        for audience in self._by_audience if some else {*named, EVERYTHING} & self._by_audience.keys():
            sight = audience.sight(reaches)
            if sight:
                yield sight, self._by_audience[audience]


class Hub:
    """The clients of one process, and how far they were told each log.

    :param propagation: the rules by which changes reach users.
    :param terms: on what terms clients listen.
    :param clock: the time, to tell how late a change is told.
    :ivar clients: how many there are.
    :ivar delivered: how many messages about changes were given to clients.
    :ivar lag: seconds from the last change to the moment at which it was told.
    """

    def __init__(self, propagation: Propagation, terms: Terms, clock: Clock) -> None:
        self._propagation = propagation
        self._terms = terms
        self._clock = clock
        self._lock = threading.Lock()
        self._positions: dict[str, str] = {}
        self._groups: dict[Interest, Group] = {}
        self._newcomers: dict[Client, Newcomer] = {}
        self._heartbeat: Frame | None = None
        self.clients = 0
        self.delivered = 0
        self.lag = 0.0

    # -- clients come and go ---------------------------------------------------------------------------------------

    def unread(self, client: Client) -> list[str]:
        """Return which of a client's logs nobody reads.

        :param client: the client.
        """
        with self._lock:
            return [log for log in client.logs if log not in self._positions]

    def admit(self, client: Client, fresh: Mapping[str, str], *, held: bool) -> list[str] | None:
        """Let a client in.

        :param client: the client.
        :param fresh: for each log that nobody read, from where somebody is going to.
        :param held: whether it is going to catch up first, until :meth:`settle`; otherwise it is told what comes from
            now on.
        :returns: the logs that the caller has to have read now; None when another one is not read any more.
        """
        with self._lock:
            absent = [log for log in client.logs if log not in self._positions]
            if not fresh.keys() >= set(absent):
                return None
            self._positions |= {log: fresh[log] for log in absent}
            self.clients += 1
            if held:
                self._newcomers[client] = Newcomer(client, self._terms.most_held)
            else:
                self._join(client)
                client.mailbox.offer(Frame(SUBSCRIBED, written(self._positions, client.logs)))
            return absent

    def positions(self, client: Client) -> dict[str, str]:
        """Return how far each of a client's logs was told.

        :param client: a client that is here.
        """
        with self._lock:
            return {log: self._positions[log] for log in client.logs}

    def settle(self, client: Client, floor: Mapping[str, str]) -> None:
        """Have a client that has caught up told of what comes behind it.

        :param client: the client.
        :param floor: how far it has read each of its logs.
        """
        with self._lock:
            self._newcomers[client].settle(floor)
            self._promote()

    def leave(self, client: Client) -> None:
        """Let a client go.

        :param client: the client; one that is not there is no error.
        """
        with self._lock:
            group = self._groups.get(client.interest)
            known = self._newcomers.pop(client, None) is not None
            if group is not None and client in group.clients:
                group.remove(client)
                known = True
                if not group.clients:
                    del self._groups[client.interest]
            self.clients -= known

    def farewell(self, farewell: Farewell) -> None:
        """End all streams.

        :param farewell: why.
        """
        with self._lock:
            for client in self._everyone():
                client.mailbox.end(farewell)

    def watch_over(self, now: float) -> int:
        """End the streams of clients that do not read, and break off those that have been ended for too long.

        :param now: a moment, in seconds.
        :returns: how many were ended.
        """
        with self._lock:
            return sum([client.watch_over(now) for client in self._everyone()])

    def heartbeat(self, client: Client) -> None:
        """Tell a client how far it has come.

        :param client: the client; one that is still catching up is not told.
        """
        with self._lock:
            group = self._groups.get(client.interest)
            if group is None or client not in group.clients:
                return
            cursor = written(self._positions, client.logs)
            if self._heartbeat is None or self._heartbeat.cursor != cursor:
                self._heartbeat = Frame(HEARTBEAT, cursor)
            client.mailbox.offer(self._heartbeat)

    def news(self, change: Change) -> News:
        """Return a change as it is told.

        :param change: the change.
        """
        return News(change, self._propagation, self._terms)

    # -- logs are read ---------------------------------------------------------------------------------------------

    def wanted(self, log: str) -> tuple[str, tuple[str, ...]] | None:
        """Return from where a log has to be read on, and which of its buckets; None when nobody listens any more.

        After None the reader has to end, as somebody else may begin.

        :param log: its name.
        """
        with self._lock:
            buckets = self._buckets(log)
            if not buckets:
                self._positions.pop(log, None)
                return None
            return self._positions[log], tuple(sorted(buckets))

    def abandon(self, log: str) -> None:
        """Take note that a log cannot be read: whoever listens to it has to come again.

        :param log: its name.
        """
        with self._lock:
            self._positions.pop(log, None)
            for client in self._everyone():
                if log in client.logs:
                    client.mailbox.end(Farewell.CLOSING)

    def deliver(self, log: str, buckets: Iterable[str], stretch: Stretch) -> bool:
        """Tell the clients what was read.

        :param log: the name of the log.
        :param buckets: which of its buckets were read.
        :param stretch: what was found behind the last position.
        :returns: False when somebody has come for another bucket meanwhile: it has to be read once more.
        """
        with self._lock:
            if not self._buckets(log) <= set(buckets):
                return False
            for entry in stretch.entries:
                self._tell(log, entry)
            self._positions[log] = stretch.cursor
            if self._newcomers:
                self._promote()
            if stretch.entries:
                self._measure(stretch.entries[-1].change.at)
            return True

    def compacted(self, log: str, restart: str) -> None:
        """Tell the clients of a log that some of it is lost to them.

        :param log: its name.
        :param restart: the cursor to go on from.
        """
        with self._lock:
            self._positions[log] = restart
            for group in self._groups.values():
                if log in group.logs:
                    frame = Frame(COMPACTED, written(self._positions, group.logs))
                    for client in group.clients:
                        client.mailbox.offer(frame)
            for client, newcomer in self._newcomers.items():
                if log in client.logs:
                    newcomer.lose(log, restart)

    # -- with the lock held ----------------------------------------------------------------------------------------

    def _join(self, client: Client) -> None:
        self._groups.setdefault(client.interest, Group(client)).add(client)

    def _everyone(self) -> list[Client]:
        return [*self._newcomers, *(client for group in self._groups.values() for client in group.clients)]

    def _buckets(self, log: str) -> set[str]:
        """Return which buckets of a log somebody listens to."""
        several = [*(group.logs for group in self._groups.values()), *(client.logs for client in self._newcomers)]
        return {bucket for logs in several for bucket in logs.get(log, ())}

    def _tell(self, log: str, entry: Entry) -> None:
        news = self.news(entry.change)
        self._positions[log] = entry.behind
        for group in self._groups.values():
            if log in group.logs:
                self.delivered += group.tell(news, self._positions)
        for client, newcomer in self._newcomers.items():
            if log in client.logs:
                newcomer.hear(log, entry, news)

    def _promote(self) -> None:
        met = [client for client, newcomer in self._newcomers.items() if newcomer.met_by(self._positions)]
        for client in met:
            del self._newcomers[client]
            self._join(client)

    def _measure(self, moment: datetime) -> None:
        self.lag = max(0.0, (self._clock.now() - moment).total_seconds())
