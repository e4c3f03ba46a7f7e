package formation

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"strings"
	"testing"
	"time"
)

var ringKey = beaconKey([]byte("key"), "gyre")

func TestBeacon(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	packet := encodeBeacon(ringKey, "10.0.0.1:7946", now)
	for _, skew := range []time.Duration{-maxSkew, 0, maxSkew} {
		if address, ok, err := decodeBeacon(ringKey, packet, now.Add(skew)); !ok || err != nil || address != "10.0.0.1:7946" {
			t.Errorf("after %v: %q, %v", skew, address, err)
		}
	}
	for _, skew := range []time.Duration{-maxSkew - time.Second, maxSkew + time.Second, 1000 * time.Hour} {
		if _, ok, err := decodeBeacon(ringKey, packet, now.Add(skew)); ok || err == nil || !strings.Contains(err.Error(), "set the clocks") {
			t.Errorf("after %v: %v, %v", skew, ok, err)
		}
	}
	for name, key := range map[string][]byte{"key": beaconKey([]byte("yek"), "gyre"), "name": beaconKey([]byte("key"), "other")} {
		if _, ok, err := decodeBeacon(key, packet, now); ok || err != errStrange {
			t.Errorf("with another %s: %v, %v", name, ok, err)
		}
	}
	for i := range packet {
		changed := bytes.Clone(packet)
		changed[i] ^= 1
		if _, ok, _ := decodeBeacon(ringKey, changed, now); ok {
			t.Errorf("a beacon with another byte %d is taken", i)
		}
		if _, ok, _ := decodeBeacon(ringKey, packet[:i], now); ok {
			t.Errorf("%d bytes of a beacon are taken", i)
		}
	}
	if _, ok, err := decodeBeacon(ringKey, encodeBeacon(ringKey, "nonsense", now), now); ok || err == nil {
		t.Errorf("a beacon without an address: %v, %v", ok, err)
	}
}

// FuzzBeacon: what is taken of a packet is an address within bounds. The fuzzer cannot know
// the key, so the packet is also tried with its right sum.
func FuzzBeacon(f *testing.F) {
	now := time.UnixMilli(1_700_000_000_000)
	f.Add(encodeBeacon(ringKey, "10.0.0.1:7946", now))
	f.Add(encodeBeacon(ringKey, "[::1]:1", now))
	f.Add([]byte(beaconMagic))
	f.Fuzz(func(t *testing.T, packet []byte) {
		mac := hmac.New(sha256.New, ringKey)
		mac.Write(packet)
		for _, p := range [][]byte{packet, mac.Sum(bytes.Clone(packet))} {
			address, ok, err := decodeBeacon(ringKey, p, now)
			if !ok {
				continue
			}
			if err != nil || len(p) > maxBeacon || len(address) > maxHost+8 || !strings.Contains(address, ":") {
				t.Fatalf("%q of %q, %v", address, p, err)
			}
		}
	})
}
