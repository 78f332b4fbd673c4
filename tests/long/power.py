#!/usr/bin/python3
"""Many power cuts of all servers' disks at times drawn from a seed, at least 1,000 requests apart on every volume; half
of them with drivers that live on (kind alive), half with everything gone (kind gone); see ../system/power_rounds.py.
Usage: power.py [--rounds N] [--kind alive|gone]... [--seed N] [--limit SECONDS]"""

import time

from campaign import Campaign, arguments_of, requests_of, wait_for_requests

import accept
import volatile_disk
from lab import Lab

volatile_disk.enter_namespaces()

from clients import check, detach_all, make_clients
from power_rounds import PoweredRegion, die_by_cut, survive_cuts

KINDS = ["alive", "gone"]
REQUESTS_BETWEEN = 1000
BATCH = 5

arguments = arguments_of(25, KINDS)
lab = Lab()
torture = accept.torture(lab)
if torture is None or volatile_disk.absent():
    lab.skip("power cuts", "not there: " + ", ".join(volatile_disk.absent() or ["FORESHARD_ACCEPT with voldisk"]))
    lab.finish()
campaign = Campaign("power", arguments.seed, arguments.limit)


class Load:
    """Waits until every client has made its requests since `mark`, and then a while."""

    def __init__(self, region, clients):
        self.region, self.clients, self.before = region, clients, {}

    def mark(self):
        self.before = {client.name: requests_of(self.region, client.name) for client in self.clients}

    def __call__(self, chance, until):
        if not wait_for_requests(self.region, self.clients, self.before, REQUESTS_BETWEEN, until):
            return False
        time.sleep(chance.uniform(0, 1.5))
        return True


def alive_rounds(load, count):
    """Numbers and chances of the rounds to come; a round is done when the next one is asked for."""
    first = campaign.done("alive")
    for number in range(first, first + count):
        load.mark()
        yield number, campaign.chance("alive", number)
        campaign.note("alive", number)


def batch(kind, region, clients):
    load = Load(region, clients)
    if kind == "gone":
        number = campaign.done("gone")
        load.mark()
        die_by_cut(region, clients, number, campaign.chance("gone", number), load)
        campaign.note("gone", number)
        return
    count = min(BATCH, arguments.rounds - campaign.done("alive"))
    survive_cuts(region, clients, alive_rounds(load, count), 12 * count + 8, load)
    for client in clients:
        lab.check(f"{client.name}: clean detach", client.attachment.stop(), client.attachment.log())
        client.attachment.start()
        check("and still there for the next driver", client, client.judge(strict=True))


def run(kind):
    region = PoweredRegion(lab, f"region-{kind}", campaign.chance(kind, "disk"))
    clients = make_clients(lab, region, kind, campaign.seed, torture)
    while campaign.due(kind, arguments.rounds, lab):
        batch(kind, region, clients)
        print(f"     {kind}: {campaign.done(kind)} of {arguments.rounds}", flush=True)
    detach_all(clients)
    lab.check("clean stop of the region", region.end(), region.log())
    region.forget()


campaign.run(arguments.kind or KINDS, arguments.rounds, lab, run)
campaign.keep(lab)
campaign.summary("power cuts: " + ", ".join(f"{campaign.done(kind)} with drivers {kind}" for kind in KINDS))
campaign.tell_whether_through(arguments.kind or KINDS, arguments.rounds)
lab.finish()
