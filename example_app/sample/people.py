"""Names to make people of."""

from __future__ import annotations

from random import Random


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST = _words(
    "Ada Alma Amir Anna Aylin Bela Carla Chidi Clara Daniel Dora Elif Emil Eva Farid Finn Freya Goran Greta Hana Hugo "
    "Ida Ines Ivo Jana Joel Jonas Kamal Karin Lara Leo Lina Luca Maja Malik Marta Mei Mila Nadia Nils Noah Nora Olga "
    "Omar Otto Paula Pavel Priya Quinn Rafael Rosa Sami Selma Sofia Stefan Tariq Tessa Tom Uma Vera Viktor Wanda Yara "
    "Yusuf Zoe"
)
LAST = _words(
    "Adler Almeida Bauer Becker Bianchi Blanc Costa Dahl Demir Dubois Eriksen Fischer Fontaine Garcia Haas Hansen "
    "Horvat Ivanov Jansen Kaya Keller Klein Kovacs Kowalski Kruse Lang Larsen Lehmann Lopez Marino Meyer Moreau Nagy "
    "Nowak Okafor Olsen Ortega Park Patel Peeters Petrov Reyes Ricci Rossi Sato Schmid Silva Smit Sorensen Tanaka "
    "Vargas Visser Vogel Wagner Weber Wolf Yilmaz Zeman"
)
COUNTRIES = ("DE", "DE", "DE", "AT", "CH", "FR", "ES", "IT", "NL", "PL", "SE", "GB")
BROWSERS = ("Firefox 128", "Chrome 126", "Safari 17", "Edge 126")
SUSPICIONS = ("payment_failed", "chargeback", "shared_account", "unusual_activity")


def person(rng: Random, number: int) -> tuple[str, str, str]:
    """Make somebody up.

    :param rng: the source of chance.
    :param number: makes the login unlike all others.
    :returns: login, display name and country.
    """
    first, last = rng.choice(FIRST), rng.choice(LAST)
    return f"{first}.{last}{number}".lower(), f"{first} {last}", rng.choice(COUNTRIES)
