#!/usr/bin/python3
"""Many times kill -9, at times drawn from a seed, at least 1,000 requests apart on every volume:

region  of the whole region, drivers alive: clients see a pause, no error; no acknowledged write is lost
attach  of the drivers: others take over, no acknowledged write is lost
both    of everything: no flushed write is lost, every sector holds its old or its new content

Every tenth kill strikes a second time while what was killed is coming up again. Two volumes are driven, by stamps.py
and by nbdtorture. Usage: kills.py [--rounds N] [--kind region|attach|both]... [--seed N] [--limit SECONDS]"""

import time

from campaign import Campaign, arguments_of, requests_of, wait_for_requests

import accept
from clients import check, detach_all, make_clients
from lab import Lab, Region

KINDS = ["region", "attach", "both"]
REQUESTS_BETWEEN = 1000
BATCH = 10

arguments = arguments_of(200, KINDS)
campaign = Campaign("kills", arguments.seed, arguments.limit)
requests_total = 0

lab = Lab()
torture = accept.torture(lab)
if torture is None:
    print("     without nbdtorture: FORESHARD_ACCEPT names no folder with it", flush=True)


def kill_again(chance, kill, start):
    """Sometimes what comes up is killed before it serves."""
    if chance.random() < 0.1:
        start(wait=False)
        time.sleep(chance.uniform(0, 0.5))
        kill()


def load_until_kill(region, clients, chance, before, until):
    global requests_total
    if not wait_for_requests(region, clients, before, REQUESTS_BETWEEN, until):
        return False
    time.sleep(chance.uniform(0, 1.5))
    requests_total += sum(requests_of(region, client.name) - before.get(client.name, 0) for client in clients)
    return True


def region_round(region, clients, number, until):
    chance = campaign.chance("region", number)
    before = {client.name: requests_of(region, client.name) for client in clients}
    if not load_until_kill(region, clients, chance, before, until):
        return False
    region.kill()
    time.sleep(chance.uniform(0, 0.5))
    kill_again(chance, region.kill, region.start)
    region.start()
    for client in clients:
        lab.check(f"{client.name}: the driver lives, kill {number + 1}", client.attachment.process.poll() is None,
                  client.attachment.log())
    campaign.note("region", number)
    return True


def region_batch(region, clients):
    """Some kills within one run of the clients, which never see their connections end; then all is read again by
    drivers whose caches are empty."""
    first = campaign.done("region")
    count = min(BATCH, arguments.rounds - first)
    seconds = 5 * count + 5
    ends_at = time.monotonic() + seconds
    for client in clients:
        client.start(live_seconds=seconds)
    for number in range(first, first + count):
        if not region_round(region, clients, number, ends_at - 3):
            break
    for client in clients:
        check("a pause, no error, nothing lost", client, client.survived())
        lab.check(f"{client.name}: clean detach", client.attachment.stop(), client.attachment.log())
        client.attachment.start()
        check("and still there for the next driver", client, client.judge(strict=True))


def drivers_round(region, clients, kind, number):
    chance = campaign.chance(kind, number)
    before = {client.name: requests_of(region, client.name) for client in clients}
    for client in clients:
        client.start()
    lab.check(f"{kind}: load before kill {number + 1}",
              load_until_kill(region, clients, chance, before, time.monotonic() + 120))
    victims = [client.attachment for client in clients] + ([region] if kind == "both" else [])
    chance.shuffle(victims)
    for victim in victims:
        victim.kill()
    if kind == "both":
        kill_again(chance, region.kill, region.start)
        region.start()
    for client in clients:
        check(f"{kind}: right until kill {number + 1}", client, client.right_until_death())
        kill_again(chance, client.attachment.kill, client.attachment.start)
    begin = time.monotonic()
    for client in clients:
        client.attachment.start(wait=False)
    for client in clients:
        lab.wait_for(f"{client.name} taken over", client.attachment.ready, client.attachment.process)
    lab.check(f"{kind}: taken over in time", time.monotonic() - begin < 20, f"{time.monotonic() - begin:.1f} s")
    for client in clients:
        check(f"{kind}: nothing promised is lost by kill {number + 1}", client, client.judge(kind == "attach"))
    campaign.note(kind, number)


def run(kind):
    region = Region(lab, name=f"region-{kind}")
    clients = make_clients(lab, region, kind, campaign.seed, torture)
    while campaign.due(kind, arguments.rounds, lab):
        if kind == "region":
            region_batch(region, clients)
        else:
            drivers_round(region, clients, kind, campaign.done(kind))
        print(f"     {kind}: {campaign.done(kind)} of {arguments.rounds}", flush=True)
    detach_all(clients)
    lab.check("clean stop of the region", region.stop(), region.log())
    region.forget()


campaign.run(arguments.kind or KINDS, arguments.rounds, lab, run)
campaign.keep(lab)
counts = ", ".join(f"{campaign.done(kind)} of {kind}" for kind in KINDS)
campaign.summary(f"kill -9: {counts}; {requests_total} requests in the last call")
campaign.tell_whether_through(arguments.kind or KINDS, arguments.rounds)
lab.finish()
