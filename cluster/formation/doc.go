// Package formation finds the other nodes of a ring.
//
// A Provider is one way to find them: a list, a file, a name in DNS, beacons, a command. A
// Finder asks each of its providers again and again. It keeps what each found last, and
// hands the union to the node, whose gossip tries the addresses (cluster.Config.Seeds). The
// storage of the ring names nodes, too, so a provider that fails does no harm by itself.
//
// An address is a hint. Gossip proves by the name and the key of the ring that a node at an
// address belongs to it.
package formation
