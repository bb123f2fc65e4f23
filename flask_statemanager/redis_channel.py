"""One connection to Redis, said and heard on directly: what the driver does around each answer costs more than it."""

from __future__ import annotations

import select
from typing import Any

from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import InvalidResponse, ResponseError
from redis.exceptions import TimeoutError as TimedOut

_END = b"\r\n"
_CHUNK = 64 * 1024
_MOST = 4 * 1024 * 1024
_BULK, _NUMBER, _LIST, _REFUSAL, _TEXT = b"$:*-+"


class Channel:
    """Exchanges commands and answers of the protocol's second version (RESP2) on a connection of the driver's.

    :param connection: a connected ``redis.Connection``, whose handshake is over; nobody else may read from it.
    """

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._sock = connection._sock
        self._poll = select.poll()
        self._poll.register(self._sock, select.POLLIN)
        self._data = b""
        self._at = 0

    def exchange(self, text: bytes, number: int) -> list[Any]:
        """Send, and read as many answers; where that does not go well it is closed, with what may still come.

        :param text: packed commands.
        :param number: how many.
        :returns: the answers, text as bytes, a refusal as the error that it is.
        :raises redis.exceptions.RedisError: when it is not answered.
        """
        try:
            self._sock.sendall(text)
            answers = [self._answer() for _ in range(number)]
        except TimeoutError as error:
            self.close()
            raise TimedOut("Timeout: no answer in time") from error
        except OSError as error:
            self.close()
            raise Disconnected(f"The connection broke: {error}") from error
        except BaseException:
            self.close()
            raise
        self._data, self._at = b"", 0
        return answers

    @property
    def ended(self) -> bool:
        """Whether it was closed while nobody used it: nobody has asked, so what there is to read is its end."""
        return self.connection._sock is not self._sock or bool(self._poll.poll(0))

    def close(self) -> None:
        """Close the connection."""
        self.connection.disconnect()

    def _answer(self) -> Any:
        line = self._line()
        kind = line[0] if line else 0
        if kind == _BULK:
            size = int(line[1:])
            return None if size < 0 else self._bulk(size)
        if kind == _NUMBER:
            return int(line[1:])
        if kind == _LIST:
            number = int(line[1:])
            return None if number < 0 else [self._answer() for _ in range(number)]
        if kind == _TEXT:
            return line[1:]
        if kind == _REFUSAL:
            return self._refusal(line[1:])
        raise InvalidResponse(f"Protocol error: {line!r}")

    def _refusal(self, text: bytes) -> ResponseError:
        error: Any = self.connection._parser.parse_error(text.decode(errors="replace"))
        if isinstance(error, Disconnected):  # a server that is loading its data, as one that is not there
            raise error
        found: ResponseError = error
        return found

    def _line(self) -> bytes:
        end = self._data.find(_END, self._at)
        while end < 0:
            self._read(1)
            end = self._data.find(_END, self._at)
        line, self._at = self._data[self._at : end], end + 2
        return line

    def _bulk(self, size: int) -> bytes:
        missing = self._at + size + 2 - len(self._data)
        if missing > 0:
            self._read(missing)
        end = self._at + size
        found, self._at = self._data[self._at : end], end + 2
        return found

    def _read(self, missing: int) -> None:
        """Read at least so many bytes more."""
        chunks: list[bytes] = [self._data[self._at :]]
        while missing > 0:
            chunk = self._sock.recv(min(max(_CHUNK, missing), _MOST))
            if not chunk:
                raise Disconnected("Connection closed by server.")
            chunks.append(chunk)
            missing -= len(chunk)
        self._data, self._at = b"".join(chunks), 0
