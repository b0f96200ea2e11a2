"""Producer ids that say whose they are, so that nobody can use another's.

A producer's id fences it and counts its records, so whoever may use it can silence it. An id is made of the id of the
client that it was granted to, which is never given out twice, and a number: who may use it can be told from the id
alone, also by a supervisor that was not there when it was granted.
"""

from __future__ import annotations

from shmlog.errors import InvalidProducerIdMappingError

NUMBER_BITS = 32
"""Below them, the client: 31 bits. Ids of client 0, which does not exist, are free for who is not bound to a client."""


def producer_id_of(client_id: int, number: int) -> int:
    """The id of a producer of this client; `number` is one that the cluster never used before."""
    assert 0 < client_id < 1 << (63 - NUMBER_BITS), f"client id {client_id} does not fit into producer ids"
    return client_id << NUMBER_BITS | number & ((1 << NUMBER_BITS) - 1)


def client_of(producer_id: int) -> int:
    """The client that this id was granted to; 0 or less for an id that nobody got in this way."""
    return producer_id >> NUMBER_BITS


def check_producer_id(producer_id: int, client_id: int) -> None:
    """Raise InvalidProducerIdMappingError if `producer_id` was not granted to this client; -1, no id, is anybody's."""
    if producer_id != -1 and client_of(producer_id) != client_id:
        raise InvalidProducerIdMappingError(
            f"producer id {producer_id} was not granted to client {client_id}, which asks for it: ask for an id"
            " of your own with InitProducerId"
        )
