package formation

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// A beacon is one packet: beaconMagic, the milliseconds of the sender's clock since 1970 as
// 8 bytes, the gossip address of the sender, and an HMAC-SHA256 of all that, 32 bytes.
const (
	beaconMagic = "gyre\x01"
	beaconHead  = len(beaconMagic) + 8
	// maxBeacon bounds a packet. A longer one is no beacon.
	maxBeacon = beaconHead + maxHost + len(":65535") + sha256.Size
	// maxSkew is how far the clocks of two nodes may be apart. It bounds for how long a
	// beacon that was recorded can be sent again.
	maxSkew = time.Minute
)

var errStrange = errors.New("a beacon comes from a node of another ring: its key or cluster-name differs")

// beaconKey makes the key of the beacons of a ring.
func beaconKey(key []byte, cluster string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("beacon of " + cluster))
	return mac.Sum(nil)
}

// encodeBeacon makes a packet.
func encodeBeacon(key []byte, address string, now time.Time) []byte {
	packet := binary.BigEndian.AppendUint64([]byte(beaconMagic), uint64(now.UnixMilli()))
	packet = append(packet, address...)
	mac := hmac.New(sha256.New, key)
	mac.Write(packet)
	return mac.Sum(packet)
}

// decodeBeacon returns the address of a packet. The error says what is wrong with a beacon;
// ok is false, without an error, if the packet is none.
func decodeBeacon(key, packet []byte, now time.Time) (address string, ok bool, err error) {
	if len(packet) <= beaconHead+sha256.Size || len(packet) > maxBeacon || !bytes.HasPrefix(packet, []byte(beaconMagic)) {
		return "", false, nil
	}
	body, sum := packet[:len(packet)-sha256.Size], packet[len(packet)-sha256.Size:]
	mac := hmac.New(sha256.New, key)
	mac.Write(body)
	if !hmac.Equal(mac.Sum(nil), sum) {
		return "", false, errStrange
	}
	address, err = Address(string(body[beaconHead:]), "")
	if err != nil {
		return "", false, err
	}
	sent := time.UnixMilli(int64(binary.BigEndian.Uint64(body[len(beaconMagic):])))
	if skew := now.Sub(sent).Abs(); skew > maxSkew {
		return "", false, fmt.Errorf("the clock of %s is %s apart from this one, and %s at most: set the clocks", address, skew.Round(time.Second), maxSkew)
	}
	return address, true, nil
}
