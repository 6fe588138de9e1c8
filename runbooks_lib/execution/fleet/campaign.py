"""The order in which the databases of a fleet have their turn, and what becomes of answers that do not come.

Of each server only so many at a time; the first ones alone, then wave by wave; after too many failures nothing more is
begun. An order whose worker is lost is handed out again: `task.carry_out` looks what is there before it does anything.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from runbooks_lib.archive.masking.mask import redact
from runbooks_lib.execution.fleet.carriers import ask
from runbooks_lib.execution.fleet.crew import Crew
from runbooks_lib.execution.fleet.record import Ended, Member, Pace
from runbooks_lib.findings import Verdict
from runbooks_lib.typed import typed

ATTEMPTS = 3  # of an order whose worker is lost
FIRST_DELAY_S = 1.0  # before an order is handed out again; doubled each time
LONGEST_DELAY_S = 60.0
LOOK_S = 1.0  # between two looks whether the workers can still be reached
Order = Callable[[Member], dict[str, Any]]


@dataclass(slots=True, kw_only=True)
class Turn:
    """A database that waits for its turn, or has it: since when it has it, since when something is in its way and
    what, not before when it has it again, and how often it had one.
    """

    member: Member
    began: float = 0.0
    in_the_way: float | None = None
    why: str = ""
    not_before: float = 0.0
    attempts: int = 0
    delays: int = 0


@dataclass(slots=True, kw_only=True)
class Campaign:
    """Hands orders out to a crew; `ended` has how each database ended, by name, as soon as it did.

    `waiting` are those of the wave that wait for their turn, `at_work` those that a worker has. `servers` says which
    server an address leads to. `on_change` is called whenever something changed.
    """

    crew: Crew
    order: Order
    pace: Pace
    servers: Mapping[str, str] = field(default_factory=dict)
    on_change: Callable[[], None] = lambda: None
    ended: dict[str, Ended] = field(default_factory=dict)
    waiting: deque[Turn] = field(default_factory=deque)
    at_work: dict[Future[dict[str, Any]], Turn] = field(default_factory=dict)
    stopped_by: str = ""
    failed: int = 0

    def carry_out(self, waves: Iterable[Sequence[Member]]) -> None:
        """Carry wave after wave out until the last, or until one stops the campaign.

        On KeyboardInterrupt what is at work is interrupted and told of, then it is raised again.
        """
        try:
            for wave in waves:
                self._wave(wave)
                if self.stopped_by:
                    break
        except KeyboardInterrupt:
            self.stopped_by = "it was interrupted"
            self.crew.leave()
            self._leave_behind()
            self._name_what_was_begun()
            raise

    def _wave(self, members: Sequence[Member]) -> None:
        self.waiting = deque(Turn(member=member) for member in members)
        while self.waiting or self.at_work:
            if not self.stopped_by:
                self._hand_out()
            if self.stopped_by and not self.at_work:
                self._name_what_was_begun()
                return
            self._settle()
            if why := self.crew.gone():
                self.stopped_by = why
                self._leave_behind()

    def _hand_out(self) -> None:
        """Hand out what there is room for, in order; what has to wait for its server lets others pass."""
        busy = Counter(map(self._server, self.at_work.values()))
        passed = []
        while self.waiting and len(self.at_work) < self.crew.size:
            turn = self.waiting.popleft()
            server = self._server(turn)
            if turn.not_before > time.monotonic() or busy[server] >= self.pace.per_server:
                passed.append(turn)
                continue
            busy[server] += 1
            turn.attempts += 1
            turn.why = ""
            turn.began = time.monotonic()
            try:
                self.at_work[self.crew.executor.submit(ask, self.order(turn.member))] = turn
            except RuntimeError as error:  # the executor was shut down, or the cluster's client closed
                self._lost(turn, error)
            self.on_change()
        self.waiting.extendleft(reversed(passed))

    def _server(self, turn: Turn) -> str:
        address = turn.member.place.server
        return self.servers.get(address, address)

    def _settle(self) -> None:
        """Wait a moment for answers, and take those that have come."""
        if not self.at_work:
            time.sleep(min(LOOK_S, FIRST_DELAY_S / 4))
            return
        done, _ = wait(self.at_work, timeout=LOOK_S, return_when=FIRST_COMPLETED)
        for future in done:
            self._answered(future, self.at_work.pop(future))
            self.on_change()

    def _answered(self, future: Future[dict[str, Any]], turn: Turn) -> None:
        try:
            answer = future.result()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            self._lost(turn, error)
            return
        if "later" in answer:
            self._later(turn, typed(answer["later"], Ended, _of(turn)), answer["patience_s"])
        else:
            self._end(turn, typed(answer, Ended, _of(turn)))

    def _later(self, turn: Turn, otherwise: Ended, patience_s: float) -> None:
        """Have a database wait at which nothing was begun, until there is no patience any more."""
        if turn.in_the_way is None:
            turn.in_the_way = turn.began
        waited_s = time.monotonic() - turn.in_the_way
        if waited_s > patience_s:
            why = f"After {waited_s:.0f} seconds still: {otherwise.reason}"
            self._end(turn, msgspec.structs.replace(otherwise, reason=why))
        else:
            turn.attempts -= 1
            self._again(turn, otherwise.reason)

    def _lost(self, turn: Turn, error: BaseException) -> None:
        turn.in_the_way = None
        why = " ".join(redact(f"{type(error).__name__}: {error}").split())
        if turn.attempts < ATTEMPTS and not self.crew.gone():
            self._again(turn, f"Its worker was lost: {why}")
        else:
            self._end(turn, _failed("lost", f"Its worker was lost {turn.attempts} times: {why}"))

    def _again(self, turn: Turn, why: str) -> None:
        turn.why = why
        turn.not_before = time.monotonic() + min(FIRST_DELAY_S * 2**turn.delays, LONGEST_DELAY_S)
        turn.delays += 1
        self.waiting.append(turn)

    def _end(self, turn: Turn, ended: Ended) -> None:
        self.ended[turn.member.name] = msgspec.structs.replace(ended, attempts=turn.attempts)
        self.failed += ended.state != "done"
        if self.pace.max_failures and self.failed >= self.pace.max_failures and not self.stopped_by:
            self.stopped_by = f"{self.failed} failed, and no more than that is allowed (--max-failures)"

    def _leave_behind(self) -> None:
        """Take the answers of what was interrupted; what gives none was lost."""
        done, _ = wait(self.at_work, timeout=0 if self.crew.gone() else 90)
        for future, turn in self.at_work.items():
            answer = None
            if future in done and not future.cancelled() and future.exception() is None:
                answer = future.result()
            if answer is not None and "later" not in answer:
                self._end(turn, typed(answer, Ended, _of(turn)))
            else:
                self._left(turn, "No answer")
        self.at_work.clear()

    def _name_what_was_begun(self) -> None:
        """Tell of what lost its worker and does not get another one any more: it has begun."""
        for turn in self.waiting:
            if turn.attempts:
                self._left(turn, "Its worker was lost, and it was not handed out again")

    def _left(self, turn: Turn, what: str) -> None:
        why = f"{what}: {self.stopped_by}. What it did stands in its run; fleet resume takes it up."
        self._end(turn, _failed("lost", why))


def _failed(state: Any, reason: str) -> Ended:
    return Ended(state=state, verdict=Verdict.ERROR, exit_code=4, reason=reason)


def _of(turn: Turn) -> Path:
    return Path(f"the answer for {turn.member.name}")


def waves(members: Sequence[Member], pace: Pace) -> Iterator[Sequence[Member]]:
    """Yield the waves: the first `canary` alone, then those of each label's wave, no more than `wave` at a time."""
    rest = list(members)
    if pace.canary:
        yield rest[: pace.canary]
        rest = rest[pace.canary :]
    for number in dict.fromkeys(each.place.wave for each in rest):
        of_wave = [each for each in rest if each.place.wave == number]
        size = pace.wave or len(of_wave)
        yield from (of_wave[at : at + size] for at in range(0, len(of_wave), size))
