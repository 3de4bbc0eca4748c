import Glibc

// What /proc says, with nothing but the C library.

/// errno in words.
func lastSystemError() -> String { String(cString: strerror(errno)) }

/// The whole content of a file of /proc, which has no size beforehand; nil with errno where it cannot be read.
func contents(ofProcFile path: String) -> String? {
  let file = open(path, O_RDONLY | O_CLOEXEC)
  guard file >= 0 else { return nil }
  defer { close(file) }
  var bytes: [UInt8] = []
  var block = [UInt8](repeating: 0, count: 65536)
  while true {
    let count = read(file, &block, block.count)
    if count < 0 { return nil }
    if count == 0 { return String(decoding: bytes, as: UTF8.self) }
    bytes += block[..<count]
  }
}

/// The names in a folder without `.` and `..`; nil with errno where it cannot be listed.
func names(inFolder path: String) -> [String]? {
  guard let folder = opendir(path) else { return nil }
  defer { closedir(folder) }
  var names: [String] = []
  while let entry = readdir(folder) {
    let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    if name != ".", name != ".." { names.append(name) }
  }
  return names
}

/// Where a symbolic link points; nil where it cannot be read.
func target(ofLink path: String) -> String? {
  var bytes = [UInt8](repeating: 0, count: Int(PATH_MAX))
  let count = bytes.withUnsafeMutableBytes { buffer in
    buffer.withMemoryRebound(to: CChar.self) { characters in
      characters.baseAddress.map { readlink(path, $0, characters.count) } ?? -1
    }
  }
  return count >= 0 ? String(decoding: bytes[..<count], as: UTF8.self) : nil
}

/// The device and the inode that a path leads to; nil where it leads nowhere.
func identity(ofPath path: String) -> (device: UInt64, inode: UInt64)? {
  var status = stat()
  return stat(path, &status) == 0 ? (UInt64(status.st_dev), UInt64(status.st_ino)) : nil
}
