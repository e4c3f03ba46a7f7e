package disk

import (
	"strings"
	"sync"
)

// versionCache remembers the versions of streams that were looked up in runs.
// It has two halves: what is asked for moves to the young one, and when that
// is full it becomes the old one, whose contents are dropped.
type versionCache struct {
	mu         sync.Mutex
	young, old map[string]cachedVersion
}

// cachedVersion is a stream's version as of the segment upTo. Whoever uses it
// asks the runs of later segments.
type cachedVersion struct {
	version uint64
	upTo    uint32
}

// maxCachedVersions bounds each half; an entry takes about 100 bytes.
const maxCachedVersions = 100_000

func (c *versionCache) get(name string) (cachedVersion, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok := c.young[name]; ok {
		return v, true
	}
	v, ok := c.old[name]
	return v, ok
}

func (c *versionCache) put(name string, v cachedVersion) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.young == nil || len(c.young) >= maxCachedVersions {
		c.young, c.old = make(map[string]cachedVersion), c.young
	}
	c.young[name] = v
}

// versionOnDisk is the version of a stream that no table has, 0 if there is
// none.
func (ix *index) versionOnDisk(v *view, name string) (uint64, error) {
	for _, t := range v.retired {
		// Retiring leaves the map as it is.
		if s := t.streams[name]; s != nil {
			return s.last, nil
		}
	}
	if len(v.runs) == 0 {
		return 0, nil
	}
	known, ok := ix.cache.get(name)
	hash := ix.key.name(name)
	newest := v.runs[len(v.runs)-1].last
	for k := len(v.runs) - 1; k >= 0; k-- {
		r := v.runs[k]
		if ok && r.last <= known.upTo {
			return known.version, nil
		}
		if len(v.retired) > 0 && r.first >= v.retired[len(v.retired)-1].segment {
			continue
		}
		version, found, err := r.lastVersion(name, hash)
		if err != nil {
			return 0, err
		}
		if found {
			ix.cache.put(strings.Clone(name), cachedVersion{version, newest})
			return version, nil
		}
	}
	return 0, nil
}
