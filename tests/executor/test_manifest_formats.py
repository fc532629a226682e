"""Programs in other formats, run and supervised as manifest plugins are."""

from __future__ import annotations

import zlib
from typing import Any

from tests.executor.harness import Host, wait_until
from tests.executor.manifest_source import install

CHECK = """#!/bin/sh
# As a Nagios check of the guidelines: a line for people, performance data, more of both below.
echo "DISK $1 - free space: / 3326 MB|/=2643MB;5948;5958;0;5968 'my label'=7%"
echo "long text | /boot=68MB;88"
echo "/home=69357MB;253404 reads=15c bad"
exit $2
"""


def program(format_: str, *args: str, step: int = 60, path: str = "checks/check_disk") -> Any:
    return {"plugin": path, "config": {"args": list(args)}, "format": format_, "step": step}


def by_tags(host: Host, count: int) -> dict[str, Any]:
    wait_until(lambda: len(host.samples()) >= count, f"{count} values")
    return {f"{s['metric']}/{s['tags']}": (s["value"], s["counterType"]) for s in host.samples()}


def test_a_nagios_check_gives_its_state_and_performance_data(host: Host) -> None:
    host.script("checks/check_disk", CHECK)
    host.script("checks/check_broken", "#!/bin/sh\necho no route >&2\nexit 77\n")
    host.script("checks/check_slow", "#!/bin/sh\nsleep 60\n")
    host.bind(
        program("nagios", "CRITICAL", "2"),
        program("nagios", path="checks/check_broken"),
        program("nagios", path="checks/check_slow", step=1),
    )
    host.start()
    key = "checks/check_disk(CRITICAL,2)"
    entry = host.wait_state(key, "ok")
    assert entry["Reason"] == "CRITICAL: DISK CRITICAL - free space: / 3326 MB"
    assert (entry["Format"], entry["Cycle"], entry["Args"]) == ("nagios", 60, "CRITICAL,2")
    plugin = f"plugin=checks/check_disk~{zlib.crc32(b'CRITICAL' + bytes(1) + b'2'):08x}"
    assert by_tags(host, 6) == {
        f"check_disk.status/{plugin}": (2.0, "GAUGE"),
        f"check_disk.value/perfdata=/,unit=MB,{plugin}": (2643.0, "GAUGE"),
        f"check_disk.value/perfdata=my_label,unit=%,{plugin}": (7.0, "GAUGE"),
        f"check_disk.value/perfdata=/boot,unit=MB,{plugin}": (68.0, "GAUGE"),
        f"check_disk.value/perfdata=/home,unit=MB,{plugin}": (69357.0, "GAUGE"),
        f"check_disk.value/perfdata=reads,{plugin}": (15.0, "COUNTER"),
    }
    assert entry["Rejected"] == 1
    entry = host.wait_state("checks/check_broken()", "failed")
    assert entry["Reason"] == "exit code 77: no route"
    assert "did not end within 0.5 s" in host.wait_state("checks/check_slow()", "timeout")["Reason"]


def test_telegraf_and_prometheus_programs_and_their_bad_lines(host: Host) -> None:
    host.script(
        "tele/exec",
        "#!/bin/sh\necho 'disk,path=/var\\ log used=5i,free=2.5,mode=\"a b\" 1795290000000000000'\n"
        "echo 'nonsense'\n",
    )
    host.script(
        "tele/execd", '#!/bin/sh\nwhile :; do echo "loop,n=1 v=$((2+1))u"; sleep 0.2; done\n'
    )
    host.script(
        "prom/text",
        "#!/bin/sh\ncat <<'END'\n# HELP jobs_total Jobs.\n# TYPE jobs_total counter\n"
        'jobs_total{kind="a,b",plugin="x"} 3\nqueue NaN\nqueue{} 4 1795290000123\nEND\n',
    )
    host.bind(
        program("telegraf-exec", path="tele/exec"),
        program("telegraf-execd", path="tele/execd", step=30),
        program("prometheus", path="prom/text", step=3600),
    )
    host.start()
    assert host.wait_state("tele/exec()", "ok")["Rejected"] == 1
    assert host.wait_state("tele/execd()", "ok")["Running"]
    entry = host.wait_state("prom/text()", "ok")
    assert (entry["Rejected"], entry["Cycle"]) == (1, 3600)
    values = by_tags(host, 5)
    assert values["disk.used/path=/var_log,plugin=tele/exec"] == (5.0, "GAUGE")
    assert values["disk.free/path=/var_log,plugin=tele/exec"] == (2.5, "GAUGE")
    assert values["loop.v/n=1,plugin=tele/execd"] == (3.0, "GAUGE")
    assert values["jobs_total/kind=a_b,exported_plugin=x,plugin=prom/text"] == (3.0, "COUNTER")
    assert values["queue/plugin=prom/text"] == (4.0, "GAUGE")
    steps = {sample["metric"]: sample["step"] for sample in host.samples()}
    assert (steps["loop.v"], steps["queue"], steps["disk.used"]) == (30, 3600, 60)


def test_a_manifest_may_hold_a_program_of_another_format(host: Host) -> None:
    install(
        host,
        "import json, sys\nprint('fine |', 'load=' + str(len(sys.argv)))\n"
        "sys.exit(json.load(open('param.json'))['level'])\n",
        command="python3 main.py $(host)", metrics=[],
    )  # fmt: skip
    host.bind({"plugin": "check", "config": {"level": 1}, "format": "nagios", "step": 30})
    host.start()
    assert host.wait_state("check", "ok")["Reason"] == "WARNING: fine"
    assert by_tags(host, 2) == {
        "check.status/plugin=check": (1.0, "GAUGE"),
        "check.value/perfdata=load,plugin=check": (2.0, "GAUGE"),
    }


def test_a_binding_that_no_host_can_run_is_named_and_the_others_run(host: Host) -> None:
    host.script("checks/check_disk", CHECK)
    host.bind(
        program("nagios", "OK", "0"),
        dict(program("nagios"), format="nrpe"),
        dict(program("nagios"), step=0),
        dict(program("nagios"), config={"args": "-w 5"}),
    )
    host.start()
    host.wait_state("checks/check_disk(OK,0)", "ok")
    reasons = {key: entry["Reason"] for key, entry in host.plugins().items()}
    assert "'nrpe' is not known" in reasons["binding 2"]
    assert '"step" must be whole seconds' in reasons["binding 3"]
    assert '"args" must be a list of texts' in reasons["binding 4"]


def test_a_line_of_many_values_costs_what_as_many_lines_do(host: Host) -> None:
    host.script(
        "tele/wide",
        "#!/usr/bin/python3\nimport time\n"
        "line = 'w ' + ','.join('f%d=1' % n for n in range(2000))\n"
        "for _ in range(60):\n    print(line, flush=True)\ntime.sleep(60)\n",
    )
    host.bind(program("telegraf-execd", path="tele/wide"))
    host.start()
    wait_until(lambda: "prints more than 500 values/s: throttled" in host.log, "throttled")
    assert host.plugins()["tele/wide()"]["Samples"] <= 60_000  # of 120,000


def test_new_code_restarts_a_program_that_stays(host: Host) -> None:
    host.script("checks/execd", "echo m a=1\ncat > /dev/null\n")
    host.bind({"plugin": "checks/execd", "format": "telegraf-execd", "step": 1})
    host.start()
    assert host.wait_state("checks/execd()", "ok")["LastValue"]["value"] == 1
    host.script("checks/execd", "echo m a=23\ncat > /dev/null\n")
    host.get("/plugin/update")  # there is nothing to update, but it looks afterwards
    wait_until(
        lambda: host.plugins()["checks/execd()"]["LastValue"]["value"] == 23, "the new one runs"
    )


def test_half_a_line_is_no_value(host: Host) -> None:
    host.script("tele/half", "#!/bin/sh\nprintf 'cpu a=1\\ncpu a=53'\nexec sleep 60\n")
    host.script("tele/whole", "#!/bin/sh\nprintf 'disk a=5'\n")
    host.bind(
        program("telegraf-execd", path="tele/half"), program("telegraf-exec", path="tele/whole")
    )
    host.start()
    host.wait_state("tele/half()", "ok")
    wait_until(lambda: host.plugins()["tele/whole()"]["Samples"] == 1, "a whole one counts")
    host.bind(program("telegraf-exec", path="tele/whole"))
    wait_until(lambda: "tele/half()" not in host.plugins(), "it was stopped")
    assert [sample["value"] for sample in host.samples() if sample["metric"] == "cpu.a"] == [1.0]
