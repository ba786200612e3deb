package deploy_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestImagesArePinnedByTheirDigests(t *testing.T) {
	t.Parallel()
	files := []string{"docker-compose.yml", "deploy/Dockerfile", "deploy/release.Dockerfile", "deploy/kubernetes/overlays/quickstart/nats.yaml", "deploy/kubernetes/overlays/quickstart/postgres.yaml"}
	dir := copied(t, append(files, "scripts/pin-images")...)
	all := func() string {
		var text strings.Builder
		for _, file := range files {
			text.WriteString(read(t, filepath.Join(dir, file)))
		}
		return text.String()
	}
	images := regexp.MustCompile(`(?m)^ *(?:image:|FROM) +([a-z][^ @\n]*:[^ @\n]+)(@\S+)?`)
	pins := func(digest string) (pinned, others int) {
		for _, m := range images.FindAllStringSubmatch(all(), -1) {
			if m[2] == digest {
				pinned++
			} else if !strings.HasPrefix(m[1], "lethe/") {
				others++
			}
		}
		return pinned, others
	}
	before := all()
	if status, out := called(t, dir, []string{"CRANE=false"}, "scripts/pin-images"); status != 1 || all() != before || !strings.Contains(out, "nothing is changed") {
		t.Errorf("without a registry: status %d, %q; want 1, and files as they were", status, out)
	}
	for _, digit := range []string{"a", "b"} { // the second call replaces what the first wrote
		digest := "sha256:" + strings.Repeat(digit, 64)
		executable(t, dir+"/crane", "echo "+digest)
		if status, out := called(t, dir, []string{"CRANE=" + dir + "/crane"}, "scripts/pin-images"); status != 0 {
			t.Fatalf("status %d: %s", status, out)
		}
		if pinned, others := pins("@" + digest); pinned != 9 || others != 0 {
			t.Errorf("%d images are pinned, %d not; want 9 and 0", pinned, others)
		}
	}
	digest := regexp.MustCompile(`@sha256:[0-9a-f]{64}`)
	if digest.ReplaceAllString(all(), "") != digest.ReplaceAllString(before, "") {
		t.Error("more than digests has changed")
	}
}
