"""A dump of a portal's database: as mysqldump writes it, as others do, and what is none."""

from __future__ import annotations

import gzip
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from controller.portal import sql
from controller.portal.dump import Dump, read
from controller.portal.sql import DumpError

HEAD = """-- MySQL dump 10.13  Distrib 5.7.44, for Linux (x86_64)
/*!40101 SET NAMES utf8mb4 */;
/*!40000 ALTER TABLE `grp` DISABLE KEYS */; /* it's; a comment */
"""
MARIADB = """/*M!999999\\- enable the sandbox mode */
-- MariaDB dump 10.19-11.4.2-MariaDB, for Linux (x86_64)
"""
GRP = """DROP TABLE IF EXISTS `grp`;
CREATE TABLE `grp` (
  `id` int(10) unsigned NOT NULL AUTO_INCREMENT,
  `grp_name` varchar(255) NOT NULL DEFAULT 'a,b)',
  `create_user` varchar(64) NOT NULL DEFAULT '',
  `create_at` timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
  `come_from` tinyint(4) NOT NULL DEFAULT '0',
  PRIMARY KEY (`id`),
  UNIQUE KEY `idx_host_grp_grp_name` (`grp_name`)
) ENGINE=InnoDB AUTO_INCREMENT=3 DEFAULT CHARSET=utf8 COLLATE=utf8_unicode_ci;
LOCK TABLES `grp` WRITE;
INSERT INTO `grp` VALUES (1,'web','root','2020-01-01 00:00:00',1),(2,'db','root','2020-01-01 00:00:00',0);
UNLOCK TABLES;
"""
REST = """CREATE TABLE `strategy` (`id` int, `note` varchar(128));
INSERT INTO `strategy` VALUES (1,'don\\'t; say ''no''\\\\'),(2,NULL);
INSERT INTO `grp_host` VALUES (1,1),(1,2),(2,2);
INSERT INTO `host` VALUES (1,'web1','192.0.2.1','5.1.2','',0,0,'2020-01-01 00:00:00'),(2,'db1','','','',0,0,NULL);
INSERT INTO `plugin_dir` VALUES (1,1,'sys/ntp','root','2020-01-01 00:00:00'),(2,1,'db/60_x.py(a,b)','root','');
-- Dump completed on 2020-01-01
"""
WHOLE = Dump(
    hosts={"web": ["web1", "db1"], "db": ["db1"]},
    plugins={"web": ["sys/ntp", "db/60_x.py(a,b)"], "db": []},
    addresses={"web1": "192.0.2.1"},
)


def taken(text: str | bytes, chunk: int | None = None) -> Dump:
    content = text if isinstance(text, bytes) else text.encode()
    return read(io.BytesIO(content), chunk)


@pytest.mark.parametrize("chunk", [1, 7, 100, None])
def test_a_dump_is_read_however_its_bytes_come(
    monkeypatch: pytest.MonkeyPatch, chunk: int | None
) -> None:
    if chunk:
        monkeypatch.setattr(sql, "_SNIFFED", 100)
    assert taken(HEAD + GRP + REST, chunk) == WHOLE


ONE = "INSERT INTO `plugin_dir` VALUES (1,1,{},'','');INSERT INTO grp VALUES (1,'web','','',1);"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("'a\\'b'", "a'b"),
        ("'a''b'", "a'b"),
        ('"a\'b"', "a'b"),
        ('"a""b"', 'a"b'),
        ("'a\\\\'", "a\\"),
        ("'a\\nb\\0\\Z\\%'", "a\nb\0\x1a%"),
        ("'a),(1,1,''x'''", "a),(1,1,'x'"),
        ("'/* no comment */ -- nor this # nor that'", "/* no comment */ -- nor this # nor that"),
        ("_utf8mb4'é'", "é"),
        ("0x7379732f6e7470", "sys/ntp"),
        ("x'7379732f6e7470'", "sys/ntp"),
        ("NULL", ""),
        ("null /* nothing */", ""),
        ("'null'", "null"),
        ("-5", "-5"),
        ("'监控/磁盘'", "监控/磁盘"),
    ],
)
def test_values_are_read_as_mysql_does(written: str, meant: str) -> None:
    assert taken(ONE.format(written)).plugins == {"web": [meant]}


VALUES = "(1,'web','','',1)"


@pytest.mark.parametrize(
    "text",
    [
        f"INSERT INTO grp VALUES {VALUES};",
        f"insert ignore into `grp` values\n{VALUES};",
        f"REPLACE INTO grp VALUE {VALUES};",
        f"INSERT INTO falcon_portal.grp VALUES {VALUES};",
        f"INSERT INTO `falcon_portal`.`grp` VALUES {VALUES};",
        "INSERT INTO grp (grp_name, id) VALUES ('web', 1);",
        "INSERT INTO grp VALUES (1,'web','','',1) ON DUPLICATE KEY UPDATE id=id;",
        "CREATE TABLE grp (grp_name text, id int, PRIMARY KEY (id)); INSERT INTO grp VALUES ('web',1);",
        f"USE mysql; INSERT INTO host (Host,Db) VALUES ('%','x'); USE x; INSERT INTO grp VALUES {VALUES};",
        f"USE a; INSERT INTO grp VALUES (7,'x','','',1); USE falcon_portal; INSERT INTO grp VALUES {VALUES};",
        f"INSERT INTO grp VALUES (7,'old','','',1); DROP TABLE IF EXISTS `grp`; INSERT INTO grp VALUES {VALUES};",
        f"DELIMITER ;;\n/*!50003 CREATE TRIGGER x */;;\nDELIMITER ;\nINSERT INTO grp VALUES {VALUES};",
        f"\ufeffINSERT INTO grp VALUES {VALUES};",
        f"CREATE VIEW v AS SELECT ';'; # it's\n-- it's\nINSERT INTO grp VALUES {VALUES};",
    ],
)
def test_it_need_not_be_mysqldump_that_wrote_it(text: str) -> None:
    dump = taken(text)
    assert dump.hosts == {"web": []} and dump.plugins == {"web": []}


@pytest.mark.parametrize(
    ("charset", "encoding"),
    [("gbk", "gbk"), ("latin1", "cp1252"), ("utf8", "utf-8"), ("", "utf-16")],
)
def test_it_may_be_in_other_characters(charset: str, encoding: str) -> None:
    # In GBK this one ends with the byte of a backslash.
    name = "é" if charset == "latin1" else "誠'"
    escaped = name.replace("'", "\\'")
    head = f"/*!40101 SET NAMES {charset} */;\n" if charset else ""
    text = f"{head}INSERT INTO grp VALUES (1,'{escaped}','','',1);"
    assert list(taken(text.encode(encoding)).hosts) == [name]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no table `grp`"),
        ("\n", "no table `grp`"),
        ("SELECT 1;", "no table `grp`"),
        ("INSERT INTO host VALUES (1,'a','','','',0,0,'');", "no table `grp`"),
        (bytes(range(256)) * 100, "is no text"),
        (gzip.compress(b"x", mtime=0), "gunzip"),
        ("/*!40101 SET NAMES koi8r */;", "koi8r"),
        (HEAD + GRP[:-60], "cut off"),
        (HEAD + GRP, "cut off"),
        (HEAD + GRP + REST.replace("-- Dump", "-- "), "cut off"),
        (MARIADB + GRP, "cut off"),
        (HEAD + GRP + REST[:180], "cut off"),
        ("INSERT INTO grp VALUES (1,'we", "line 1: the file ends within"),
        ("\n\nINSERT INTO grp VALUES (1,'web','','',1)\n,", "line 4: the file ends within"),
        ("/* no end", "cut off"),
        ("INSERT INTO grp VALUES (1,'web');", "2 values for 5 columns"),
        ("INSERT INTO grp VALUES ('x','web','','',1);", "no number"),
        ("INSERT INTO grp VALUES (1,CONCAT('a','b'),'','',1);", "an expression"),
        ("INSERT INTO grp SELECT * FROM other;", "no VALUES"),
        ("INSERT INTO grp VALUES 1;", "must begin with ("),
        (f"INSERT INTO grp VALUES (1,'{'x' * 1001}','','',1);", "that no portal could hold"),
        ("USE a; INSERT INTO grp VALUES (1,'a','','',1);USE b; INSERT INTO grp VALUES (1,'b','','',1);",
         "several portals: a, b"),
    ],
)  # fmt: skip
def test_what_is_no_dump_is_refused_with_its_reason(content: str | bytes, said: str) -> None:
    with pytest.raises(DumpError) as error:
        taken(content)
    assert said in str(error.value)


def test_something_endless_is_not_read_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "_LONGEST", 1000)
    with pytest.raises(DumpError, match="longer than 1000"):
        taken("INSERT INTO x VALUES ('" + "y" * 100_000, 100)


def test_tables_without_rows_are_a_portal_that_is_empty() -> None:
    dump = taken(MARIADB + GRP.replace("INSERT", "-- ") + "-- Dump completed on 2020-01-01\n")
    assert dump.hosts == {} and "no table grp_host, host, plugin_dir" in dump.notes[0]


def test_rows_that_belong_to_nothing_are_counted() -> None:
    rows = "INSERT INTO grp_host VALUES (1,9),(9,1);INSERT INTO plugin_dir VALUES (1,9,'x','','');"
    dump = taken(GRP + REST + rows + "INSERT INTO host VALUES (7,'alone','','','',0,0,'');")
    assert dump.hosts == WHOLE.hosts
    assert [note.split()[2] for note in dump.notes] == ["2", "1", "1"]


def quoted(text: str) -> str:
    """As mysqldump writes it."""
    signs = {
        "\\": "\\\\",
        "\0": "\\0",
        "\n": "\\n",
        "\r": "\\r",
        "'": "\\'",
        '"': '\\"',
        "\x1a": "\\Z",
    }
    return "'" + "".join(signs.get(char, char) for char in text) + "'"


any_text = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


@given(st.lists(any_text, max_size=8), st.integers(1, 40))
def test_any_text_comes_back_as_it_was(texts: list[str], chunk: int) -> None:
    rows = ",".join(f"({n},1,{quoted(text)},NULL,'')" for n, text in enumerate(texts))
    insert = f"INSERT INTO `plugin_dir` VALUES {rows};\n" if texts else ""
    other = insert.replace("plugin_dir", "strategy")
    dump = taken(f"{other}INSERT INTO grp VALUES (1,'web','','',1);{insert}", chunk)
    assert dump.plugins == {"web": texts}


pieces = st.sampled_from(
    ["INSERT INTO grp VALUES ", "(1,'a','','',1)", "CREATE TABLE grp (", "DROP TABLE grp", "USE ",
     "'", '"', "`", "\\", "/*", "*/", "--", "\n", ";", ",", "(", ")", ".", "x", "0x", "NULL", "_b'"]
)  # fmt: skip


@given(st.lists(pieces, max_size=30).map("".join) | st.text(max_size=60), st.integers(1, 10))
@example("INSERT INTO grp VALUES (,,,,);", 3)
@example("INSERT INTO .", 1)
@example("CREATE TABLE grp (`", 1)
def test_anything_else_is_read_or_refused(text: str, chunk: int) -> None:
    try:
        taken(text.encode(errors="replace"), chunk)
    except DumpError as error:
        assert str(error).isprintable()
