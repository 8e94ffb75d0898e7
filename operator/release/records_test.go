package release

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"testing"
)

func TestRecordsAreDecodedWithinALimit(t *testing.T) {
	zipped := func(size int) []byte {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		_, _ = w.Write(make([]byte, size))
		_ = w.Close()
		return []byte(base64.StdEncoding.EncodeToString(out.Bytes()))
	}
	tests := []struct {
		reason  string
		encoded []byte
		want    bool
	}{
		{"a record as large as the limit", zipped(1000), true},
		{"one byte more", zipped(1001), false},
		{"what is not compressed is no larger than the Secret", []byte("bm90IHppcHBlZA=="), true},
		{"what breaks off is damaged", zipped(1000)[:24], false},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			if got := decodesWithin(test.encoded, 1000); got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
		})
	}
}
