package tartree

import "testing"

func TestFoldersComeBeforeWhatIsInThem(t *testing.T) {
	sorted := []string{".", "a", "a/b", "a/b/c", "a/b.c", "a-b", "b"}
	for i, a := range sorted {
		for j, b := range sorted {
			if got := less(a, b); got != (i < j) {
				t.Errorf("less(%q, %q) = %v, want %v", a, b, got, i < j)
			}
		}
	}
}
