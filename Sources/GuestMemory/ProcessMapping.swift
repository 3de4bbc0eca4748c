import Glibc
public import PageTables

/// One line of `/proc/PID/maps`: a part of a process's address space, and the file behind it.
public struct ProcessMapping: Hashable, Sendable {
  /// The first address.
  public let start: HVA
  /// The address behind the last one.
  public let end: HVA
  /// Whether the process may read it.
  public let isReadable: Bool
  /// Whether writes go to the file (`MAP_SHARED`), so that the file holds what the process sees.
  public let isShared: Bool
  /// Which byte of the file the first address is.
  public let fileOffset: UInt64
  /// The file's inode, 0 for memory without a file.
  public let inode: UInt64
  /// The file's path as the process sees it, or a name in brackets; empty for memory without either.
  public let path: String
  /// Whether the path leads to the file no longer: it was deleted, or is a memfd that never had one.
  public let isDeleted: Bool

  /// The mapping that `line` describes, nil where it does not have that form (proc_pid_maps(5)).
  public init?(line: some StringProtocol) {
    let line = Substring(line)
    let fields = line.split(separator: " ", maxSplits: 5)
    guard fields.count >= 5 else { return nil }
    let bounds = fields[0].split(separator: "-")
    guard bounds.count == 2, let start = UInt64(bounds[0], radix: 16), let end = UInt64(bounds[1], radix: 16),
      start < end, fields[1].count == 4, let offset = UInt64(fields[2], radix: 16), let inode = UInt64(fields[4])
    else { return nil }
    self.start = HVA(start)
    self.end = HVA(end)
    self.isReadable = fields[1].hasPrefix("r")
    self.isShared = fields[1].hasSuffix("s")
    self.fileOffset = offset
    self.inode = inode
    // The path is padded at its front. The kernel writes a newline in it as \012, and nothing else differently.
    let path = fields.count == 6 ? Self.unescapingNewlines(fields[5].drop { $0 == " " }) : ""
    self.isDeleted = path.hasSuffix(" (deleted)")
    self.path = isDeleted ? String(path.dropLast(10)) : path
  }

  private static func unescapingNewlines(_ path: Substring) -> String {
    var path = path
    var result = ""
    while let escape = path.range(of: "\\012") {
      result += path[..<escape.lowerBound] + "\n"
      path = path[escape.upperBound...]
    }
    return result + path
  }

  /// The mappings of process `pid`, by address. Throws ``MemoryError/processHidden(pid:reason:)``.
  public static func all(ofProcess pid: Int32) throws(MemoryError) -> [ProcessMapping] {
    guard let text = contents(ofProcFile: "/proc/\(pid)/maps") else {
      throw .processHidden(pid: pid, reason: lastSystemError())
    }
    return text.split(separator: "\n").compactMap { ProcessMapping(line: $0) }
  }

  /// The bytes of `range`, which lies from `host` on, as parts of files that this process can map; nil where a part
  /// of it is in no shared file, or in one that its path does not lead to from here. `mappings` are the process's, by
  /// address.
  public static func fileRegions(
    of range: MemoryRange, at host: HVA, in mappings: [ProcessMapping]
  ) -> [MappedFileMemory.Region]? {
    var regions: [MappedFileMemory.Region] = []
    var done: UInt64 = 0
    for mapping in mappings where done < range.size {
      let position = host + done
      guard position >= host else { return nil }
      guard mapping.end > position else { continue }
      guard mapping.start <= position, mapping.leadsToItsFile else { return nil }
      let size = min(mapping.end - position, range.size - done)
      guard let part = try? MemoryRange(start: range.start + done, size: size) else { return nil }
      let offset = mapping.fileOffset &+ (position - mapping.start)
      regions.append(MappedFileMemory.Region(range: part, path: mapping.path, fileOffset: offset))
      done += size
    }
    return done == range.size ? regions : nil
  }

  /// Whether the path leads to the very file that the process mapped: a container's path may lead elsewhere here, and
  /// a new file may have taken a deleted one's place.
  private var leadsToItsFile: Bool {
    guard isShared, isReadable, !isDeleted, path.hasPrefix("/"), access(path, R_OK) == 0 else { return false }
    // Not the device: some file systems (overlay, btrfs) report another one in maps than in stat.
    return identity(ofPath: path)?.inode == inode
  }
}
