package render

import (
	"io/fs"

	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// copyFolder copies a folder of root to the same place under /.
func copyFolder(to filesys.FileSystem, root fs.FS, folder string) error {
	return fs.WalkDir(root, folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(root, path)
		if err != nil {
			return err
		}
		return to.WriteFile("/"+path, data)
	})
}
