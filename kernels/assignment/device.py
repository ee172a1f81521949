"""One-to-one assignment on the device: Jonker and Volgenant's shortest augmenting paths (1987), in lax.

People are added one at a time. From the new person a shortest path is sought, over already matched people, to a free
query (Dijkstra on costs plus the prices of the queries, less those of the matched pairs: never negative). The matches
along the path are swapped, and the prices raised so that each person still sits on its cheapest query. No host is
asked: a program with this solver can be stored in the compilation cache and runs on any platform.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from kernels.assignment.guard import guard_costs

FREE = -1  # the person of a query that has none


class State(NamedTuple):
    """What is matched so far."""

    price: Float[Array, " N"]
    person: Int[Array, " N"]
    """The person of each query, or FREE."""
    query: Int[Array, " G"]
    """The query of each person; N where it has none yet."""


class Search(NamedTuple):
    """A growing tree of shortest paths from the new person."""

    distance: Float[Array, " N"]
    """Of the shortest path found so far to each query."""
    before: Int[Array, " N"]
    """The last person on that path."""
    is_done: Bool[Array, " N"]
    """Queries whose distance is final; their people have been looked at."""
    query: Int[Array, ""]
    """The one that was finished last."""


def assign_device(cost: Float[Array, "B N G"], is_person: Bool[Array, "B G"]) -> Int[Array, "B G"]:
    """The query of each person with the smallest total cost, N where there is none; see `kernels.assignment.assign`.

    All pictures at once: on the accelerators this solver is for, a step costs the same for one picture as for many.
    """
    return jax.vmap(solve_picture)(guard_costs(cost), is_person)


def solve_picture(cost: Float[Array, "N G"], is_person: Bool[Array, " G"]) -> Int[Array, " G"]:
    """One picture, finite costs."""
    queries, people = cost.shape
    query = match_people(cost.T, is_person & (jnp.cumsum(is_person) <= queries))
    if people > queries:  # where more people are on the picture, each query seeks a person
        is_crowd = is_person.sum() > queries
        person = match_people(jnp.where(is_person, cost, jnp.inf), jnp.full(queries, is_crowd))
        of_crowd = jnp.full(people, queries).at[person].set(jnp.arange(queries), mode="drop")
        query = jnp.where(is_crowd, of_crowd, query)
    return query.astype(jnp.int32)


def match_people(cost: Float[Array, "G N"], is_person: Bool[Array, " G"]) -> Int[Array, " G"]:
    """The query of each of at most N people, N for the others. Queries of infinite cost are never taken."""
    people, queries = cost.shape
    start = State(jnp.zeros(queries, cost.dtype), jnp.full(queries, FREE), jnp.full(people, queries))

    def add(person: Array, state: State) -> State:
        added = add_person(cost, state, person, is_person[person])
        return jax.tree.map(lambda new, old: jnp.where(is_person[person], new, old), added, state)

    last = jnp.max(jnp.where(is_person, jnp.arange(people), -1), initial=-1)
    return jax.lax.fori_loop(0, last + 1, add, start).query


def add_person(cost: Float[Array, "G N"], state: State, person: Int[Array, ""], is_person: Bool[Array, ""]) -> State:
    """Matches one more person, at the least additional cost; without meaning for nobody, but soon done."""
    found = shortest_path(cost, state, person, is_person)
    rise = jnp.where(found.is_done, found.distance[found.query] - found.distance, 0)
    return swap_along(found, state._replace(price=state.price + rise), person)


def shortest_path(
    cost: Float[Array, "G N"], state: State, person: Int[Array, ""], is_person: Bool[Array, ""]
) -> Search:
    """From a person to the nearest free query; `query` of the result is where the path ends."""

    def look(search: Search, here: Array, reach: Array) -> Search:
        """Goes on from person `here`; `reach` is what its path has cost, less what it pays now."""
        through = cost[here] + state.price + reach
        is_shorter = ~search.is_done & (through < search.distance)
        distance = jnp.where(is_shorter, through, search.distance)
        nearest = jnp.argmin(jnp.where(search.is_done, jnp.inf, distance))
        return Search(
            distance, jnp.where(is_shorter, here, search.before), search.is_done.at[nearest].set(True), nearest
        )

    def is_taken(search: Search) -> Array:
        return is_person & (state.person[search.query] != FREE)

    def go_on(search: Search) -> Search:
        here = state.person[search.query]
        paid = cost[here, search.query] + state.price[search.query]
        return look(search, here, search.distance[search.query] - paid)

    queries = cost.shape[1]
    nowhere = Search(
        jnp.full(queries, jnp.inf, cost.dtype), jnp.zeros(queries, int), jnp.zeros(queries, bool), jnp.array(0)
    )
    return jax.lax.while_loop(is_taken, go_on, look(nowhere, person, jnp.zeros((), cost.dtype)))


def swap_along(found: Search, state: State, person: Int[Array, ""]) -> State:
    """Gives each person on the path the query after it; the new person's own query ends the walk back."""

    def is_on_path(carry: tuple[State, Array]) -> Array:
        return carry[1] < state.person.size

    def step(carry: tuple[State, Array]) -> tuple[State, Array]:
        state, query = carry
        here = found.before[query]
        left = jnp.where(here == person, state.person.size, state.query[here])
        return state._replace(person=state.person.at[query].set(here), query=state.query.at[here].set(query)), left

    return jax.lax.while_loop(is_on_path, step, (state, found.query))[0]
