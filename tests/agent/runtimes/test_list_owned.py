"""list_owned: all of ours and nothing else; raises rather than give a part."""

from __future__ import annotations

from typing import Any

import pytest

from agent.runtimes.base import RuntimeFailure


async def test_running_and_ended_ones_are_listed_with_their_state(bench: Any) -> None:
    created = await bench.create("forever")
    running = await bench.started("forever")
    ended = await bench.started("hello-exit-3")
    await bench.ended(ended)
    found = {report.container_id: report for report in await bench.runtime.list_owned()}
    assert {created: "created", running: "running", ended: "exited"} == {key: report.state for key, report in found.items()}
    assert found[ended].exit_code == 3
    assert found[running].epoch == 1
    assert found[running].operation_id == "op-1"


async def test_another_panels_containers_are_neither_seen_nor_touched(real_bench: Any) -> None:
    """A11: the ownership label carries the panel's instance id."""
    mine = await real_bench.started("forever")
    stranger = real_bench.fresh()
    real_bench.others.append(stranger)
    await stranger.info()
    await stranger.open(instance="another-panel")
    assert await stranger.list_owned() == []
    assert await stranger.inspect(mine) is None
    await stranger.remove(mine)
    await stranger.kill(mine)
    assert await real_bench.state(mine) == "running"


async def test_labels_forged_by_hand_do_not_displace_the_true_one(docker_bench: Any) -> None:
    """A11: somebody copies our labels onto a container of his own."""
    mine = await docker_bench.started("forever")
    true = await docker_bench.runtime.inspect(mine)
    name = f"forged-{mine[:8]}"
    docker_bench.outside(
        "create",
        "--name",
        name,
        "--label",
        f"lormas.instance={docker_bench.instance}",
        "--label",
        f"lormas.container={mine}",
        "lormas-test/busybox:1",
    )
    try:
        again = docker_bench.fresh()
        docker_bench.others.append(again)
        await again.open(instance=docker_bench.instance)
        assert [report.runtime_ref for report in await again.list_owned()] == [true.runtime_ref]
        await again.remove(mine)
        docker_bench.outside("inspect", name)
    finally:
        docker_bench.outside("rm", "-f", name)


async def test_labels_in_a_spec_that_pretend_to_be_ours_are_dropped(docker_bench: Any) -> None:
    """A11: the reserved prefix is ours alone."""
    spec = docker_bench.spec("forever", labels={"lormas.instance": "other", "LORMAS.container": "x", "team": "blue"})
    await docker_bench.runtime.create(spec, epoch=1, operation_id="op-1")
    item = await docker_bench.runtime._finder.item(spec.container_id)
    labels = item["Config"]["Labels"]
    assert labels["lormas.instance"] == docker_bench.instance
    assert labels["team"] == "blue"
    assert "LORMAS.container" not in labels


async def test_an_unreadable_folder_makes_the_listing_fail(process_bench: Any) -> None:
    """R11: half a listing is worse than none."""
    container_id = await process_bench.create("forever")
    (process_bench.runtime._folders.of(container_id) / "spec.json").write_text("{")
    with pytest.raises(RuntimeFailure):
        await process_bench.runtime.list_owned()
    await process_bench.runtime._do(process_bench.runtime._folders.remove, container_id, keep_data=False)


async def test_a_fake_listing_fails_when_told_to(tmp_path: Any) -> None:
    from agent.runtimes.fake import FakeRuntime

    runtime = FakeRuntime()
    runtime.knobs.listing = "fail"
    with pytest.raises(RuntimeFailure):
        await runtime.list_owned()
    runtime.knobs.listing = ""
    runtime.knobs.fail["inspect"] = {2: "timeout"}
    assert await runtime.inspect("x") is None
    with pytest.raises(RuntimeFailure) as caught:
        await runtime.inspect("x")
    assert caught.value.code == "timeout"
    assert await runtime.inspect("x") is None
