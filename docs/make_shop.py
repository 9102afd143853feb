"""Make the log of the tutorial: a small shop whose noise is known. Needs Python alone.

    python docs/make_shop.py FOLDER

writes FOLDER/clicks.csv (1 January to 2 March 2024), FOLDER/items.csv, and FOLDER/clicks-late.csv,
which the tutorial delivers later. A customer likes two departments, and in each one style; one
click in twelve is of anything in the shop: a gift, a slip, somebody else at the screen. `note`
says so. A real log has no such column: here it shows what the cleaning found.
"""

import csv
import random
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

DEPARTMENTS = {
    "Garden": ["rose", "tulip", "fern", "spade", "rake", "seed tray", "watering can", "trellis"],
    "Music": ["violin", "guitar", "flute", "trumpet", "drum", "piano stool", "tuner", "songbook"],
    "Kitchen": ["teapot", "wok", "whisk", "bread tin", "pepper mill", "ladle", "scale", "apron"],
    "Sports": ["tennis racket", "yoga mat", "football", "skipping rope", "helmet", "swim goggles"],
    "Crafts": ["knitting wool", "sewing kit", "watercolours", "clay", "crochet hook", "easel"],
    "Baby": ["bottle warmer", "cot mobile", "teether", "night light", "bib", "building blocks"],
}
STYLES = ["classic", "budget", "deluxe", "travel", "eco", "professional"]
FIRST, DAYS, USERS, NOISE = datetime(2024, 1, 1, tzinfo=UTC), 62, 1500, 1 / 12


def catalogue() -> dict[str, list[tuple[str, str]]]:
    """Department -> (id, title) of its items: each thing in each style."""
    items, number = {}, 0
    for department, things in DEPARTMENTS.items():
        items[department] = []
        for thing in things:
            for style in STYLES:
                number += 1
                title = f"{department}: {style} {thing}"
                items[department].append((f"A{number:04d}", title))
    return items


def visits(chance: random.Random) -> Iterable[tuple[str, str, int, str]]:
    """(customer, item, unix seconds, note), customer by customer."""
    shop = catalogue()
    everything = [item for items in shop.values() for item in items]
    for number in range(USERS):
        liked = chance.sample(sorted(shop), 2)
        style = {department: chance.choice(STYLES) for department in liked}
        for day in sorted(chance.choices(range(DAYS), k=chance.randint(12, 30))):
            department = chance.choice(liked)
            usual = style[department]
            own = [i for i in shop[department] if usual in i[1] or chance.random() < 0.2]
            gift = chance.random() < NOISE
            item, _ = chance.choice(everything if gift else own)
            moment = FIRST + timedelta(days=day, seconds=chance.randrange(86_400))
            yield f"c{number:04d}", item, int(moment.timestamp()), "gift" if gift else ""


def write(file: Path, header: str, rows: Iterable[tuple[object, ...]]) -> None:
    """A CSV file."""
    with open(file, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header.split())
        writer.writerows(rows)


def main(folder: Path) -> None:
    """Write the three files."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = sorted(visits(random.Random(7)), key=lambda row: row[2])
    # A till that was offline: of 1 March one click in twenty comes late.
    late = [row for n, row in enumerate(rows) if n % 20 == 0 and _is_late(row[2])]
    header = "customer item clicked_at note"
    write(folder / "clicks.csv", header, (row for row in rows if row not in late))
    write(folder / "clicks-late.csv", header, late)
    items = [item for department in catalogue().values() for item in department]
    write(folder / "items.csv", "item name", items)
    print(f"{len(rows) - len(late):,} clicks, {len(late)} late ones, {len(items)} items: {folder}")


def _is_late(second: int) -> bool:
    return datetime.fromtimestamp(second, UTC).date() == datetime(2024, 3, 1, tzinfo=UTC).date()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/make_shop.py FOLDER")
    main(Path(sys.argv[1]))
