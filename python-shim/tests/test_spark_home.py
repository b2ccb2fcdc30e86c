from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import List

import pytest

from spark_shim.jvm import Complaint
from spark_shim.spark_home import (
    SparkNotFound,
    archive_path,
    environment_of_spark,
    find_java,
    find_spark_home,
    heap_flag,
    java_command,
    read_properties,
    write_properties,
)


@pytest.fixture
def home(tmp_path: Path) -> str:
    (tmp_path / "spark" / "jars").mkdir(parents=True)
    for name in ("spark-core_2.13-4.0.0.jar", "a.jar"):
        (tmp_path / "spark" / "jars" / name).write_bytes(b"jar")
    (tmp_path / "spark" / "conf").mkdir()
    return str(tmp_path / "spark")


def test_spark_defaults_are_read_as_java_would(tmp_path: Path) -> None:
    path = tmp_path / "spark-defaults.conf"
    path.write_text(
        "# comment\n! another\n\nspark.a  1\nspark.b=2 \nspark.c : 3 = 4\n  spark.d\tx y\n"
        "spark.e=one \\\n   two\nspark.f=a\\=b\\u00e9\\n\nempty\n"
    )
    assert read_properties(str(path)) == {
        "spark.a": "1",
        "spark.b": "2",
        "spark.c": "3 = 4",
        "spark.d": "x y",
        "spark.e": "one two",
        "spark.f": "a=bé",
        "empty": "",
    }
    assert read_properties(str(tmp_path / "none")) == {}


def test_a_written_properties_file_reads_back_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "spark.properties")
    conf = {"spark.a": '-Dx="y z" \\d', "spark.b b:c=d": " leading", "spark.c": "é\U0001f600\tx", "spark.d": ""}
    for _ in range(2):
        write_properties(path, conf)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o400
    read = read_properties(path)
    assert read.pop("spark.c").encode("utf-16", "surrogatepass").decode("utf-16") == conf.pop("spark.c")
    assert read == conf


@pytest.mark.parametrize(
    ("memory", "flag"),
    [("1g", "-Xmx1g"), ("777m", "-Xmx777m"), ("512", "-Xmx512m"), ("2GB", "-Xmx2g"), (" 3 g ", "-Xmx3g"), ("1t", "-Xmx1t")],
)
def test_driver_memory_becomes_a_heap(memory: str, flag: str) -> None:
    assert heap_flag(memory) == flag


def test_settings_that_must_be_known_before_the_jvm_runs_become_its_flags(home: str) -> None:
    Path(home, "conf", "java-opts").write_text("-Dfrom.file=1\n")
    conf = {
        "spark.driver.memory": "777m",
        "spark.driver.defaultJavaOptions": "-Ddefault=1",
        "spark.driver.extraJavaOptions": "-Dextra='a b' -XX:+UseG1GC",
        "spark.secret.password": "hunter2",
    }
    command = java_command("/j", home, conf, {"SPARK_SUBMIT_OPTS": "-Denv=1"}, ["-XX:SharedArchiveFile=/a"], "/p", ["--proxy-user", "eve"])
    main = command.index("org.apache.spark.deploy.SparkSubmit")
    flags = command[:main]
    assert "-Xmx777m" in flags and "-XX:+UseSerialGC" not in flags and "-XX:SharedArchiveFile=/a" in flags
    assert [flags.index(flag) for flag in ("-Dfrom.file=1", "-Denv=1", "-Ddefault=1", "-Dextra=a b")] == list(range(main - 5, main - 1))
    assert command[main + 1 :] == ["--properties-file", "/p", "--proxy-user", "eve", "pyspark-shell"]
    assert not any("hunter2" in part for part in command)


def test_an_extra_class_path_comes_first_and_switches_the_archive_off(home: str) -> None:
    command = java_command("/j", home, {"spark.driver.extraClassPath": "/x/*:/y.jar"}, {}, ["-XX:SharedArchiveFile=/a"], "/p", [])
    assert command[2].startswith("/x/*:/y.jar:" + home + "/jars/a.jar:")
    assert not any("SharedArchiveFile" in part for part in command)


def test_a_small_heap_gets_the_serial_collector_and_a_large_one_does_not(home: str) -> None:
    assert "-XX:+UseSerialGC" in java_command("/j", home, {}, {}, [], "/p", [])
    assert "-XX:+UseSerialGC" not in java_command("/j", home, {"spark.driver.memory": "8g"}, {}, [], "/p", [])


def test_spark_env_sh_is_heard(home: str) -> None:
    Path(home, "conf", "spark-env.sh").write_text('HADOOP_CONF_DIR=/etc/"hadoop conf"\nexport TWO="a\nb"\necho noise\n')
    env = environment_of_spark(home, {"PATH": os.environ["PATH"], "KEPT": "1"})
    assert (env["HADOOP_CONF_DIR"], env["TWO"], env["KEPT"]) == ("/etc/hadoop conf", "a\nb", "1")


def test_java_is_the_given_one_then_java_homes_then_the_paths(tmp_path: Path) -> None:
    for name in ("given", "home/bin", "path"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "java").touch(mode=0o755)
    env = {"JAVA_HOME": str(tmp_path / "home"), "PATH": "/nowhere:%s" % (tmp_path / "path")}
    assert find_java(str(tmp_path / "given" / "java"), env) == str(tmp_path / "given" / "java")
    assert find_java(str(tmp_path / "home"), {}) == str(tmp_path / "home" / "bin" / "java")
    assert find_java(None, env) == str(tmp_path / "home" / "bin" / "java")
    assert find_java(None, {"PATH": env["PATH"]}) == str(tmp_path / "path" / "java")
    for broken in ({"JAVA_HOME": "/nowhere"}, {"PATH": "/nowhere"}):
        with pytest.raises(SparkNotFound, match="No Java"):
            find_java(None, broken)


def test_spark_is_the_given_one_or_the_message_says_what_is_missing(home: str, tmp_path: Path) -> None:
    assert find_spark_home(home, "/nowhere", {}) == home
    assert find_spark_home(None, "/nowhere", {"SPARK_HOME": home}) == home
    with pytest.raises(SparkNotFound, match="has no pyspark package"):
        find_spark_home(None, "/nowhere", {})
    with pytest.raises(SparkNotFound, match="no jars/spark-core"):
        find_spark_home(str(tmp_path), "/nowhere", {})


def test_the_archives_name_changes_with_java_and_with_every_jar(home: str, tmp_path: Path) -> None:
    java = tmp_path / "java"
    java.touch()
    names = [archive_path("/cache", str(java), home)]
    Path(home, "jars", "a.jar").write_bytes(b"changed")
    names.append(archive_path("/cache", str(java), home))
    java.write_bytes(b"new")
    names.append(archive_path("/cache", str(java), home))
    assert len(set(names)) == 3 and all(name.startswith("/cache/spark-") for name in names)


@pytest.mark.parametrize(
    "pieces, said",
    [
        (["WARN x\nError: Missing application res", "ource.\nRun with --help\n"], "Missing application resource."),
        (
            ['Exception in thread "main" a.B: c\n\tat x\nCaused by: d.E: f\n\tat y\n', "Caused by: g.H: i\n\tat z\n"],
            "a.B: c, caused by g.H: i",
        ),
        (["Error occurred during initialization of VM\nToo small maximum heap\n"], "Too small maximum heap"),
        (["Caused by: x\nWARN Error: no\n"], ""),
    ],
)
def test_a_jvm_says_why_it_does_not_start(pieces: List[str], said: str) -> None:
    passed: List[str] = []
    complaint = Complaint()
    hear = complaint.heard(passed.append)
    for piece in pieces:
        hear(piece)
    assert str(complaint) == said and passed == pieces
