"""Write the sample inputs beside this file, the same every time, or with --check compare them."""

import argparse
import csv
import io
import random
import string
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
SEED = 20_240_229
USERS = 1_000
DOMAINS = ("example.com", "example.org", "example.net")
SYMBOLS = "!@#$%^&*-_+=?."
BOM = b"\xef\xbb\xbf"

Rows = list[tuple[str, ...]]


def csv_bytes(rows: Iterable[Sequence[str]], line_end: str = "\n") -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=line_end).writerows(rows)
    return text.getvalue().encode()


def table(header: tuple[str, ...], rows: Rows) -> pa.Table:
    columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
    return pa.Table.from_arrays(columns, names=list(header))


def require_distinct(rows: Rows, column: int) -> None:
    values = [row[column].casefold() if column == 0 else row[column] for row in rows]
    if len(set(values)) != len(values):
        raise ValueError(f"column {column} holds a value twice")


# Users: ordinary people, nothing to stumble over.

PEOPLE = {  # given names, family names
    "spanish": (
        "maria lucia carmen elena sofia javier diego pablo andres mateo ines raul",
        "garcia fernandez lopez martinez torres ramirez navarro ortega molina castillo vega rios",
    ),
    "english": (
        "emma olivia grace hannah lucy oliver george harry jack thomas ruth simon",
        "smith taylor walker wright hughes cooper bennett foster palmer webb barnes reid",
    ),
    "german": (
        "anna lena katrin sabine greta lukas jonas felix stefan juergen heike moritz",
        "mueller schmidt fischer weber becker hoffmann krueger vogel keller brandt lange winter",
    ),
    "french": (
        "camille chloe manon juliette amelie louis hugo antoine etienne luc margaux remy",
        "dubois lefevre moreau girard rousseau fontaine chevalier blanc marchand perrin roux leroy",
    ),
    "italian": (
        "giulia chiara francesca paola alessia marco luca matteo giovanni enzo bianca dario",
        "rossi ferrari esposito romano ricci marino greco conti gallo costa fontana rizzo",
    ),
    "polish": (
        "agnieszka katarzyna magda zofia ewa piotr tomasz pawel krzysztof jakub hania marek",
        "kowalska nowak wozniak mazur krawczyk zajac wrobel dudek pawlak sikora baran duda",
    ),
    "nordic": (
        "astrid ingrid freja sigrid maja lars erik bjorn nils anders saga mikkel",
        "hansen johansson lindqvist nilsen bergstrom dahl holm lund virtanen korhonen berg strand",
    ),
    "arabic": (
        "fatima aisha layla nour salma omar youssef khalid hassan tariq amira sami",
        "haddad al-farsi mansour khoury nasser saleh rahman qasim aziz darwish hamdan zayed",
    ),
    "indian": (
        "priya ananya kavita deepa meera arjun rohan vikram sanjay rahul nisha kiran",
        "sharma patel iyer reddy nair gupta menon kapoor desai chatterjee joshi rao",
    ),
    "chinese": (
        "mei xiuying jing yan hui wei jun lei ming haoran xinyi tao",
        "wang zhang liu chen yang zhao huang zhou xu sun lin guo",
    ),
    "japanese": (
        "yuki sakura haruka aoi naomi kenji hiroshi takumi daichi ren emi sho",
        "tanaka suzuki watanabe yamamoto nakamura kobayashi ito mori hayashi okada fujita ueda",
    ),
    "african": (
        "amara chioma zanele wanjiru adaeze kwame kofi tunde thabo juma esi femi",
        "okafor mensah adeyemi nkosi kamau dlamini osei mwangi banda diallo eze boateng",
    ),
    "slavic": (
        "olga irina svetlana daria katya ivan dmitri sergei oleksandr bohdan mila goran",
        "petrova ivanenko kovalenko volkov shevchenko novak horvat jovanovic popov bondar kos babic",
    ),
}


def users() -> Rows:
    rng = random.Random(SEED)
    people = rng.sample(list(everybody()), USERS)
    rows: Rows = [(username(rng, *person), password(rng)) for person in people]
    require_distinct(rows, 0)
    require_distinct(rows, 1)
    return rows


def everybody() -> Iterator[tuple[str, str]]:
    for given_names, family_names in PEOPLE.values():
        for given in given_names.split():
            for family in family_names.split():
                yield given, family


def username(rng: random.Random, given: str, family: str) -> str:
    style = rng.random()
    if style < 0.25:
        return f"{given}.{family}@{rng.choice(DOMAINS)}"
    if style < 0.40:
        return f"{given}.{family}{rng.randint(2, 99)}"
    if style < 0.50:
        return f"{given}_{family}{rng.randint(1950, 2006)}"
    return f"{given}.{family}"


def password(rng: random.Random) -> str:
    kinds = (string.ascii_uppercase, string.ascii_lowercase, string.digits, SYMBOLS)
    letters = [rng.choice(kind) for kind in kinds]
    letters += rng.choices("".join(kinds), k=rng.randint(12, 24) - len(kinds))
    rng.shuffle(letters)
    return "".join(letters)


# Tricky: strange, but right; every value must arrive as written.

GOOD = "Plain-Pass.{:03d}"  # for rows where only the username is tricky

TRICKY_USERNAMES = {  # username: why it is here
    "007": "leading zeros, not the number 7",
    "NA": "a name, not a missing value",
    "null": "a name, not a missing value",
    "NaN": "a name, not a number",
    "None": "a name, not a missing value",
    "n/a": "a name, not a missing value",
    "#N/A": "a name, not a spreadsheet error",
    "1e5": "not 100000",
    "TRUE": "not a boolean",
    "false": "not a boolean",
    "0x1F": "not 31",
    "1_000": "not 1000",
    "1.0": "not 1",
    "inf": "not infinity",
    "-1": "not a number, not an option",
    "--yes": "not an option",
    "=1+1": "not a formula",
    "+447700900123": "a telephone number keeps its plus sign",
    "@handle": "not a formula",
    "12345678901234567890": "more digits than a 64-bit integer holds",
    "2024-01-31": "not a date",
    "#comment": "not a comment",
    "'apostrophe": "a single quote at the start is kept",
    "o'brien": "a single quote inside",
    'the"boss"': 'quotes inside, written as "" in the file',
    '"quoted"': 'quotes at both ends, written as """',
    "comma,separated": "a comma, so the field is quoted",
    "semi;colon": 'semicolons, commas, and "quotes" in a note',
    "pipe|bar": "a pipe",
    "corp\\new\\table": "backslashes are no escapes:\r\n\\n is two characters",
    "\\N": "not a database's missing value",
    "100%s": "not a format",
    "%41%20b": "percent-encoded text stays encoded",
    "{username}": "not a template",
    "${HOME}": "not a variable",
    "$(id)": "not a command",
    "`id`": "not a command",
    '{"id":1}': "JSON text",
    "<script>alert(1)</script>": "not markup:\na report page must show it as text",
    "&amp;": "not an entity",
    "[bold]red[/bold]": "not terminal markup",
    ":smile:": "not an emoji code",
    "../../etc/passwd": "not a path",
    "';DROP/**/TABLE/**/users;--": "not SQL",
    "maria.garcia+test@example.com": "a plus address",
    "MiXeD.CaSe": "case is kept",
    "jos\u00e9": "precomposed: \u00e9 is one character",
    "jose\u0301": "combining: e, then U+0301; not the same user as the row above",
    "stra\u00dfe": "sharp s stays one letter",
    "\u0130stanbul": "a dotted capital I changes length in lower case",
    "\ufb01ona": "a ligature stays a ligature",
    "\uff4d\uff41\uff52\uff49\uff41": "full-width letters stay full-width",
    "\u0663\u0664\u0665": "Arabic-Indic digits stay as they are",
    "مريم": "Arabic, written right to left",
    "שירה": "Hebrew, written right to left",
    "王小明": "Chinese",
    "प्रिया": "Hindi, with combining vowel signs",
    "さくら": "Japanese",
    "Ελένη": "Greek",
    "Наталья": "Cyrillic",
    "rocket🚀": "an emoji outside the basic plane",
    "u" * 128: "exactly 128 characters, the longest allowed",
    "ж" * 128: "exactly 128 characters in 256 bytes",
}

TRICKY_PASSWORDS = {  # password: why it is here
    'say "hi"!1A': 'quotes inside: "" in the file, " in the value',
    '"Quoted-1"': "quotes at both ends",
    'Odd"one-1': "a single double quote",
    "Comma,one,2": "commas, so the field is quoted,\nand so is this note",
    ",Starts-with-1": "a comma at the start",
    "Semi;colon;1": "semicolons",
    "C:\\new\\table1": "backslashes are no escapes",
    "Ends-with-1\\": "a backslash at the end does not escape the separator",
    'Slash-1\\"quote': "a backslash does not escape a quote",
    "'Starts-with-1": "a single quote at the start is kept",
    "It's-1-O'Clock": "single quotes inside",
    "#Starts-with-1": "not a comment",
    "=SUM(A1:a9)": "not a formula",
    "+Plus-Pass1": "not a formula",
    "-Minus-Pass1": "not a formula, not an option",
    "@At-Pass-1": "not a formula",
    "100%s-%d-Sure": "not a format",
    "{password}-Aa1": "not a template",
    "%50assw%6Frd-1": "percent-encoded text stays encoded",
    '{"password": "Aa1!"}': "JSON text",
    'password = "Toml-1"': "a line of a TOML file",
    "[[Target]]-1": "a TOML table",
    "$(rm -rf)Aa1": "not a command",
    "${HOME}-Aa1": "not a variable",
    "`reboot`-Aa1": "not a command",
    "<script>Aa1!</script>": "not markup",
    "&lt;Aa1&gt;!": "not entities",
    "[bold]Aa1![/bold]": "not terminal markup",
    "[/Red]-Aa1": "a closing tag without its opening",
    ":smile:-Aa1": "not an emoji code",
    "' OR 1=1 --Aa": "not SQL",
    "Correct horse 1!": "spaces inside",
    "Two  spaces-1": "two spaces in a row stay two",
    "Tab\tinside-1": "a tab inside",
    "No-break\u00a0space1": "U+00A0 inside is not turned into a space",
    "Wide\u3000space-1": "U+3000 inside is not turned into a space",
    "Zero\u200bwidth-1": "an invisible U+200B inside",
    "Mark\ufeffinside-1": "U+FEFF inside is not a byte order mark",
    "Right\u200fto-left1": "an invisible U+200F inside",
    "Caf\u00e9-Latte1": "precomposed: \u00e9 is one character",
    "Cafe\u0301-Latte1": "combining: e, then U+0301; not the same password",
    "\ufb01ne-Print1": "a ligature stays a ligature",
    "\uff21\uff22\uff23-Wide1": "full-width letters stay full-width",
    "🔑Open-Door1": "an emoji at the start",
    "Family-1👩\u200d👩\u200d👧\u200d👦": "four emoji joined by U+200D",
    "Flag-1🇺🇦👍🏽": "a flag and a skin tone, two code points each",
    "كلمة-السر-Aa1": "Arabic",
    "סיסמה-Aa1": "Hebrew",
    "密码密码-Aa1": "Chinese",
    "पासवर्ड-Aa1": "Hindi",
    "パスワード-Aa1": "Japanese",
    "κωδικός-Aa1": "Greek",
    "пароль-Aa1": "Cyrillic",
    "Aa1!" * 64: "exactly 256 characters, the longest allowed",
    "Aa1!" + "ж" * 252: "exactly 256 characters in 508 bytes",
}

BARE_PASSWORDS = (  # too weak for a usual policy: for jobs that leave the policy out
    *("007", "00", "NA", "N/A", "n/a", "#N/A", "null", "NULL", "nil", "NaN", "-1.#QNAN", "None"),
    *("1e5", "1.0", "1_000", "1,000", "inf", "TRUE", "false", "0x1F", "-1", "--", "=1+1"),
    *("+447700900123", "12345678901234567890", "2024-01-31", "@handle", "\\N", '""', "''"),
    *("#REF!", "{}", "\u0663\u0664\u0665", "\u00e9\u00e9", "e\u0301e\u0301", "🔑🔑"),
)


def tricky() -> Rows:
    rows: Rows = [(name, GOOD.format(number), note) for number, (name, note) in enumerate(TRICKY_USERNAMES.items(), 1)]
    rows += [
        (f"password.{number:02d}", secret, note) for number, (secret, note) in enumerate(TRICKY_PASSWORDS.items(), 1)
    ]
    rows += [
        (f"bare.{number:02d}", secret, "a bare value, shorter or simpler than a usual policy asks")
        for number, secret in enumerate(BARE_PASSWORDS, 1)
    ]
    require_distinct(rows, 0)
    return rows


# Bad: every kind of row that is rejected, among good ones.


class Case(NamedTuple):
    """One line of bad.csv and what must become of it."""

    line: bytes
    username: str
    code: str  # empty: ready


BLANK = Case(b"\n", "", "blank")  # not a row
FINE = "Sunny-Harbour.42"
POOL = "us-east-1_NotOurs1"


def case(code: str, name: str, secret: str = FINE, permanent: str = "true", pool: str = "") -> Case:
    return Case(csv_bytes([(name, secret, permanent, pool)]), name, code)


def malformed(line: bytes) -> Case:
    return Case(line + b"\n", "", "bad_value")


BAD = (
    case("", "maria.garcia", "Quiet-Garden.17"),
    case("missing_username", ""),
    case("missing_password", "lukas.weber", ""),
    case("", "priya.sharma@example.com", "Amber,Lantern-58", permanent="false"),
    case("too_long", "x" * 129),
    case("too_long", "wei.zhang", "Aa1!" * 64 + "x"),
    case("password_whitespace", "emma.hughes", " Leading-Space.1"),
    case("password_whitespace", "oliver.reid", "Trailing-Space.1 "),
    case("password_whitespace", "chiara.rossi", "Broken-\nLine.1"),
    case("", "kenji.tanaka", 'Says "hello"-3 times'),
    BLANK,
    case("bad_value", "anna lena"),
    case("bad_value", "tab\tuser"),
    case("bad_value", "nobreak\u00a0user"),
    case("bad_value", "bell\x07user"),
    case("bad_value", "trailing.space "),
    case("duplicate_username", "omar.haddad", "First-Answer.1"),
    case("", "zanele.nkosi", "Copper_Kettle77", permanent=""),
    case("bad_value", "astrid.holm", permanent="maybe"),
    malformed(b"piotr.nowak,Too-Few.Fields1"),
    malformed(b"camille.dubois"),
    malformed(b"hugo.moreau,Too-Many.Fields1,true,,extra"),
    malformed(b"ines.vega,Unquoted,Comma-1,true,"),
    case("", "fatima.al-farsi", "River#Stone91"),
    malformed(b"jos\xe9.torres,Latin-One.1,true,"),
    malformed(b"raul.molina,Not-Utf8-\xff\xfe.1,true,"),
    case("", "olga.petrova", "Windmill=Blue6"),
    malformed(b'"abc"def,Broken-Quote.1,true,'),
    malformed(b'kofi.mensah,"Copper"Lamp-42,true,'),
    case("", "after.the.broken.quote", "Still-Read.2"),
    BLANK,
    BLANK,
    case("unknown_pool", "amara.okafor", pool=POOL),
    case("password_policy", "jing.chen", "abc"),
    case("password_policy", "seven.characters", "Short-1"),
    case("password_policy", "no.upper", "sunny-harbour.42"),
    case("password_policy", "no.lower", "SUNNY-HARBOUR.42"),
    case("password_policy", "no.digit", "Sunny-Harbour.xx"),
    case("password_policy", "no.symbol", "SunnyHarbour42"),
    case("password_policy", "no.basic.upper", "\u00c9t\u00e9-en-mer.42"),
    case("duplicate_username", "omar.haddad", "Second-Answer.2"),
    # Two faults in one row: the first in the order of checks gives the code.
    case("missing_username", "", ""),
    case("missing_username", "", permanent="maybe"),
    case("missing_password", "two words", ""),
    case("missing_password", "no.password.bad.flag", "", permanent="maybe"),
    case("too_long", "y" * 129, "abc"),
    case("too_long", "long.password.bad.flag", "Aa1!" * 64 + "y", permanent="maybe"),
    case("bad_value", "three little words", "abc", pool=POOL),
    case("bad_value", "bad.flag.and.pool", permanent="maybe", pool=POOL),
    case("unknown_pool", "pool.and.space", " Leading-Space.2", pool=POOL),
    case("unknown_pool", "pool.and.policy", "abc", pool=POOL),
    case("password_whitespace", "space.and.policy", "abc "),
    case("", "last.one", "Good-Night.99"),
)


def bad() -> bytes:
    header = csv_bytes([("username", "password", "permanent", "user_pool_id")])
    return header + b"".join(each.line for each in BAD)


def bad_expected() -> Rows:
    cases = (each for each in BAD if each is not BLANK)
    return [
        (str(number), each.username, "rejected" if each.code else "ready", each.code)
        for number, each in enumerate(cases, 1)
    ]


# Files.


def samples() -> dict[str, bytes | pa.Table]:
    plain = ("username", "password")
    noted = (*plain, "note")
    expected = ("row", "username", "status", "code")
    people, odd = users(), tricky()
    return {
        "users.csv": csv_bytes([plain, *people]),
        "users.parquet": table(plain, people),
        "tricky.csv": BOM + csv_bytes([noted, *odd], "\r\n"),
        "tricky.parquet": table(noted, odd),
        "bad.csv": bad(),
        "bad.expected.csv": csv_bytes([expected, *bad_expected()]),
    }


def write(path: Path, content: bytes | pa.Table) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        pq.write_table(content, path)


def same(path: Path, content: bytes | pa.Table) -> bool:
    try:
        if isinstance(content, bytes):
            return path.read_bytes() == content
        return bool(pq.read_table(path).equals(content))
    except (OSError, pa.ArrowException):
        return False


def check() -> int:
    differing = [name for name, content in samples().items() if not same(HERE / name, content)]
    for name in differing:
        print(f"{name} differs from what this script writes", file=sys.stderr)
    return 1 if differing else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if one differs")
    if parser.parse_args().check:
        return check()
    for name, content in samples().items():
        write(HERE / name, content)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
