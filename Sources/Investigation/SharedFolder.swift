import Foundation

/// Whether `path` is a symbolic link in a folder that everybody may write to. Such a link can be anybody's, and lead from a
/// name that looks harmless to a file of ours, or to a device.
public func isLinkInSharedFolder(_ path: String) -> Bool {
  var status = stat()
  guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFLNK else { return false }
  let folder = URL(fileURLWithPath: path).deletingLastPathComponent().path
  return stat(folder, &status) == 0 && status.st_mode & S_IWOTH != 0
}
