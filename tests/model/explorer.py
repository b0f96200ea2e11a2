"""Every execution of a small program of several threads, under the memory of views.py, with kills.

Breadth first over distinct states, so that the counterexample that comes out is a shortest one. One reduction, which a
test compares with exploring everything: an operation that no other thread can be hurt by is done at once (a store to a
location with one writer only adds a message, and whoever has not seen it may go on reading the older ones).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from tests.model.nodes import Node, told
from tests.model.operations import (
    ACQUIRE,
    RELEASE,
    SEQ_CST,
    Kind,
    Location,
    Mutation,
    Operation,
    Order,
    Program,
    Value,
    Violated,
)
from tests.model.states import (
    ASLEEP,
    ENDED,
    KILLED,
    RUNS,
    Model,
    Move,
    Outcome,
    State,
    ThreadState,
    Verdict,
)
from tests.model.views import Memory, Message, View

STATES_MAX = 3_000_000
EFFECTS = {
    Kind.STORE,
    Kind.UPDATE,
    Kind.CAS,
    Kind.WAKE,
    Kind.NOTE,
}  # a kill elsewhere is like one before the next of these
AT_ONCE = {Kind.NOTE, Kind.OWN}


Origins = dict[State, tuple[State, tuple[Move, ...]] | None]


class Explorer:
    """One exploration. `eager=False` does without the reduction."""

    def __init__(self, model: Model, mutation: Mutation | None = None, *, eager: bool = True) -> None:
        self._model = model
        self._mutation = mutation
        self._eager = eager
        self._names = list(model.threads)
        self._makers = list(model.threads.values())
        self._memory = Memory(model.initial, model.shared)
        self._nodes: list[Node] = []
        self._known: dict[Any, int] = {}
        self._step_of: dict[Kind, Callable[[State, int, Operation], Iterator[tuple[Move, State]]]] = {
            Kind.LOAD: self._loads,
            Kind.OWN: self._owns,
            Kind.STORE: self._stores,
            Kind.UPDATE: self._updates,
            Kind.CAS: self._updates,
            Kind.FENCE: self._fences,
            Kind.WAIT: self._waits,
            Kind.WAKE: self._wakes,
            Kind.AFTER: self._follows,
            Kind.CHOOSE: self._chooses,
            Kind.NOTE: self._notes,
        }

    # --- threads -----------------------------------------------------------------------------------------------------

    def _node(self, thread: int, results: tuple[Value, ...], program: Program | None = None) -> int:
        """The local state after these results. `program` stands before the last, or the thread runs anew."""
        operation: Operation | None = None
        violation = ""
        try:
            if program is None:
                program = Program(self._makers[thread](), self._mutation)
                for result in (None, *results[:-1]):
                    operation = program.send(result)
            if results:
                operation = program.send(results[-1])
            key: Any = (thread, program.position())
        except StopIteration:
            operation, key = None, (thread, "ended")
        except Violated as found:
            operation, violation = None, f"{self._names[thread]}: {found}"
            key = (thread, violation)
        if key not in self._known:
            self._known[key] = len(self._nodes)
            function, line = program.line() if program is not None and operation is not None else ("", 0)
            self._nodes.append(Node(operation, results, program, violation, function, line))
        return self._known[key]

    def _advance(self, thread: int, state: ThreadState, result: Value) -> ThreadState:
        node = self._nodes[state.node]
        if result not in node.next:
            program, node.program = node.program, None  # it goes on; who comes here again runs it from its start
            node.next[result] = self._node(thread, (*node.results, result), program)
        following = node.next[result]
        if self._nodes[following].violation:
            raise Violated(self._nodes[following].violation)
        status = ENDED if self._nodes[following].operation is None else RUNS
        return state._replace(node=following, status=status)

    # --- one step ----------------------------------------------------------------------------------------------------

    def _is_at_once(self, state: State, operation: Operation) -> bool:
        if not self._eager:
            return False
        if operation.kind in AT_ONCE:
            return True
        if operation.kind is Kind.STORE:
            return not self._memory.is_shared[self._memory.number[operation.location]]
        if operation.kind is Kind.FENCE:
            return operation.order is not SEQ_CST
        return operation.kind is Kind.AFTER and self._is_over(state, operation.location)

    def _is_over(self, state: State, name: Any) -> bool:
        return state.threads[self._names.index(name)].status in (ENDED, KILLED)

    def _moves(self, state: State) -> Iterator[tuple[Move, State]]:
        running = [k for k, thread in enumerate(state.threads) if thread.status == RUNS]
        for k in running:
            if self._is_at_once(state, self._operation(state, k)):
                running = [k]
                break
        for k in running:
            operation = self._operation(state, k)
            if self._may_die(k, operation):
                yield Move(k, -1, None), self._with(state, k, self._killed(state.threads[k]))
            yield from self._steps(state, k, operation)

    def _killed(self, thread: ThreadState) -> ThreadState:
        """Of the dead only what they have stored and noted makes a difference."""
        return ThreadState(-1, thread.current, thread.current, thread.current, KILLED, thread.notes)

    def _may_die(self, k: int, operation: Operation) -> bool:
        return operation.kind in EFFECTS and self._names[k] in self._model.killable

    def _settled(self, state: State, moves: list[Move]) -> State:
        """Do what can be done at once, and cannot be prevented by a kill; adds to `moves`."""
        k = 0
        while k < len(state.threads):
            if state.threads[k].status == RUNS:
                operation = self._operation(state, k)
                if self._is_at_once(state, operation) and not self._may_die(k, operation):
                    moves.append(Move(k, state.threads[k].node, None))
                    ((moves[-1], state),) = self._steps(state, k, operation)
                    k = -1
            k += 1
        return state

    def _operation(self, state: State, thread: int) -> Operation:
        operation = self._nodes[state.threads[thread].node].operation
        assert operation is not None
        return operation

    @staticmethod
    def _with(state: State, k: int, thread: ThreadState) -> State:
        return state._replace(threads=(*state.threads[:k], thread, *state.threads[k + 1 :]))

    def _steps(self, state: State, k: int, operation: Operation) -> Iterator[tuple[Move, State]]:
        return self._step_of[operation.kind](state, k, operation)

    def _owns(self, state: State, k: int, operation: Operation) -> Iterator[tuple[Move, State]]:
        values = tuple(self._own(state, k, location) for location in operation.value)
        yield self._went(state, k, state.threads[k], values[0] if len(values) == 1 else values)

    def _fences(self, state: State, k: int, operation: Operation) -> Iterator[tuple[Move, State]]:
        fenced, thread = self._fence(state.fenced, state.threads[k], operation.order)
        yield self._went(state._replace(fenced=fenced), k, thread, None)

    def _waits(self, state: State, k: int, operation: Operation) -> Iterator[tuple[Move, State]]:
        fenced, thread = self._fence(state.fenced, state.threads[k], SEQ_CST)
        state = state._replace(fenced=fenced)
        location = self._memory.number[operation.location]
        messages = self._memory.history[state.memory[location]]
        if messages[-1].value != operation.expected:
            thread = self._read(thread, location, len(messages) - 1, messages[-1], Order.RELAXED)
            yield self._went(state, k, thread, None)
        else:
            yield Move(k, thread.node, "sleeps"), self._with(state, k, thread._replace(status=ASLEEP))

    def _wakes(self, state: State, k: int, operation: Operation) -> Iterator[tuple[Move, State]]:
        fenced, thread = self._fence(state.fenced, state.threads[k], SEQ_CST)
        state = state._replace(fenced=fenced)
        for other, sleeper in enumerate(state.threads):
            if sleeper.status == ASLEEP and self._operation(state, other).location == operation.location:
                awake = self._joined(sleeper, thread.current)
                state = self._with(state, other, self._advance(other, awake, None))
        yield self._went(state, k, thread, None)

    def _follows(self, state: State, k: int, operation: Operation) -> Iterator[tuple[Move, State]]:
        if self._is_over(state, operation.location):
            yield self._went(state, k, self._join_end(state, state.threads[k], operation.location), None)

    def _chooses(self, state: State, k: int, operation: Operation) -> Iterator[tuple[Move, State]]:
        for value in operation.value:
            yield self._went(state, k, state.threads[k], value)

    def _notes(self, state: State, k: int, operation: Operation) -> Iterator[tuple[Move, State]]:
        thread = state.threads[k]
        yield self._went(state, k, thread._replace(notes=(*thread.notes, operation.value)), None)

    def _own(self, state: State, k: int, name: Location) -> Value:
        location = self._memory.number[name]
        messages = self._memory.history[state.memory[location]]
        if self._memory.seen(state.threads[k].current, location) != len(messages) - 1:
            raise Violated(f"{self._names[k]} is not the only writer of {name}")
        return messages[-1].value

    def _went(self, state: State, k: int, thread: ThreadState, result: Value) -> tuple[Move, State]:
        return Move(k, thread.node, result), self._with(state, k, self._advance(k, thread, result))

    def _join_end(self, state: State, thread: ThreadState, name: Any) -> ThreadState:
        return self._joined(thread, state.threads[self._names.index(name)].current)

    def _joined(self, thread: ThreadState, view: View) -> ThreadState:
        join = self._memory.join
        return thread._replace(current=join(thread.current, view), acquired=join(thread.acquired, view))

    def _fence(self, fenced: View, thread: ThreadState, order: Order) -> tuple[View, ThreadState]:
        current, released = thread.current, thread.released
        if order in (ACQUIRE, SEQ_CST):
            current = thread.acquired
        if order is SEQ_CST:
            fenced = current = self._memory.join(current, fenced)
        if order in (RELEASE, SEQ_CST):
            released = current
        acquired = self._memory.join(thread.acquired, current)
        return fenced, thread._replace(current=current, acquired=acquired, released=released)

    def _read(self, thread: ThreadState, location: int, index: int, message: Message, order: Order) -> ThreadState:
        memory = self._memory
        current = memory.bump(thread.current, location, index)
        acquired = memory.join(memory.bump(thread.acquired, location, index), message.view)
        if order is ACQUIRE:
            current = memory.join(current, message.view)
        return thread._replace(current=current, acquired=acquired)

    def _loads(self, state: State, k: int, operation: Operation) -> Iterator[tuple[Move, State]]:
        thread, until = state.threads[k], operation.until
        for index, message in self._readable(state, thread, operation):
            if until is None or until(message.value):
                yield self._saw(state, k, thread, operation, index, message)
        if until is not None and operation.over and self._is_over(state, operation.over):
            thread = self._join_end(state, thread, operation.over)
            for index, message in self._readable(state, thread, operation):
                if not until(message.value):
                    yield self._saw(state, k, thread, operation, index, message)

    def _readable(self, state: State, thread: ThreadState, operation: Operation) -> Iterator[tuple[int, Message]]:
        location = self._memory.number[operation.location]
        messages = self._memory.history[state.memory[location]]
        for index in range(self._memory.seen(thread.current, location), len(messages)):
            yield index, messages[index]

    def _saw(
        self, state: State, k: int, thread: ThreadState, operation: Operation, index: int, message: Message
    ) -> tuple[Move, State]:
        location = self._memory.number[operation.location]
        return self._went(state, k, self._read(thread, location, index, message, operation.order), message.value)

    def _stores(self, state: State, k: int, operation: Operation) -> Iterator[tuple[Move, State]]:
        memory = self._memory
        location = memory.number[operation.location]
        if operation.location in self._model.private:
            history = memory.only(operation.value)
            cells = (*state.memory[:location], history, *state.memory[location + 1 :])
            yield self._went(state._replace(memory=cells), k, state.threads[k], None)
            return
        places = memory.places(state.memory[location], location, state.threads[k].current, self._names[k])
        for place in places:
            made = self._written(state, k, location, place, operation.value, operation.order, None)
            yield self._went(made, k, made.threads[k], None)

    def _written(
        self, state: State, k: int, location: int, place: int, value: Value, order: Order, source: Message | None
    ) -> State:
        """Put a message into modification order; `source`: the one that a read-modify-write has read."""
        memory = self._memory
        if place < len(memory.history[state.memory[location]]):
            state = self._shifted(state, location, place)
        thread = state.threads[k]
        current = memory.bump(thread.current, location, place)
        view = memory.bump(current if order is RELEASE else thread.released, location, place)
        if source is not None:
            view = memory.join(view, source.view)
        history = memory.insert(state.memory[location], place, Message(value, view, source is not None))
        thread = thread._replace(current=current, acquired=memory.bump(thread.acquired, location, place))
        cells = (*state.memory[:location], history, *state.memory[location + 1 :])
        return self._with(state._replace(memory=cells), k, thread)

    def _shifted(self, state: State, location: int, place: int) -> State:
        def shift(view: View) -> View:
            return self._memory.shift_view(view, location, place)

        return State(
            tuple(
                thread._replace(
                    current=shift(thread.current), acquired=shift(thread.acquired), released=shift(thread.released)
                )
                for thread in state.threads
            ),
            shift(state.fenced),
            tuple(self._memory.shift_history(history, location, place) for history in state.memory),
        )

    def _updates(self, state: State, k: int, operation: Operation) -> Iterator[tuple[Move, State]]:
        memory = self._memory
        location = memory.number[operation.location]
        messages = memory.history[state.memory[location]]
        before = state.threads[k]
        for index in range(memory.seen(before.current, location), len(messages)):
            message = messages[index]
            if operation.kind is Kind.CAS and message.value != operation.expected:
                thread = self._read(before, location, index, message, Order.RELAXED)
                yield self._went(state, k, thread, False)
                continue
            if index + 1 < len(messages) and messages[index + 1].attached:
                continue
            thread = self._read(before, location, index, message, operation.order)
            value = operation.value if operation.change is None else operation.change(message.value)
            made = self._written(self._with(state, k, thread), k, location, index + 1, value, operation.order, message)
            yield self._went(made, k, made.threads[k], message.value if operation.change is not None else True)

    # --- all of them -------------------------------------------------------------------------------------------------

    def run(self) -> Verdict:
        """Explore until a claim breaks or nothing is left."""
        memory = self._memory
        threads = tuple(
            ThreadState(self._node(k, ()), memory.bottom, memory.bottom, memory.bottom, RUNS, ())
            for k in range(len(self._names))
        )
        first = State(threads, memory.bottom, memory.start)
        came_from: Origins = {first: None}
        queue = deque([first])
        outcomes = set()
        while queue:
            state = queue.popleft()
            moves: list[Move] = []
            try:
                for move, following in self._moves(state):
                    moves = [move]
                    settled = self._settled(following, moves)
                    if settled not in came_from:
                        came_from[settled] = (state, tuple(moves))
                        queue.append(settled)
                if not moves:
                    outcomes.add(self._end(state))
            except Violated as found:
                return Verdict(len(came_from), str(found), tuple(self._trace(came_from, state, moves)))
            assert len(came_from) < STATES_MAX, "the model is too large"
        return Verdict(len(came_from), outcomes=frozenset(outcomes))

    def _end(self, state: State) -> tuple[tuple[str, tuple[Value, ...]], ...]:
        for name, thread in zip(self._names, state.threads, strict=True):
            if thread.status in (RUNS, ASLEEP) and name not in self._model.may_wait:
                raise Violated(f"{name} {'sleeps' if thread.status == ASLEEP else 'waits'} for ever")
        notes = {name: thread.notes for name, thread in zip(self._names, state.threads, strict=True)}
        killed = frozenset(
            name for name, thread in zip(self._names, state.threads, strict=True) if thread.status == KILLED
        )
        memory = self._memory
        last = {location: memory.last(state.memory[k]) for location, k in memory.number.items()}
        self._model.final(Outcome(notes, killed, last))
        return tuple(notes.items())

    # --- a counterexample --------------------------------------------------------------------------------------------

    def _trace(self, came_from: Origins, state: State, moves: list[Move]) -> list[str]:
        lines = [self._told(move) for move in reversed(moves)]
        step = came_from[state]
        while step is not None:
            state, before = step
            lines += [self._told(move) for move in reversed(before)]
            step = came_from[state]
        return lines[::-1]

    def _told(self, move: Move) -> str:
        return told(self._names[move.thread], self._nodes[move.node] if move.node >= 0 else None, move.result)
