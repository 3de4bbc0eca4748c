public import PageTables

/// A part of the guest's physical address space that reads as memory, as QEMU's monitor lists it.
public struct RAMRegion: Hashable, Sendable {
  /// What QEMU calls it.
  public enum Kind: String, Hashable, Sendable {
    /// Ordinary RAM.
    case ram
    /// RAM that keeps its content, such as an NVDIMM.
    case persistent = "nv-ram"
    /// Read-only memory.
    case rom
    /// Flash, while it reads as memory.
    case flash = "romd"
  }

  /// The guest-physical addresses.
  public let range: MemoryRange
  /// What it is.
  public let kind: Kind
  /// QEMU's name of the memory region: `riscv_virt_board.ram`.
  public let name: String
  /// How far into that memory region the range starts, in bytes.
  public let offset: UInt64

  /// A region.
  public init(range: MemoryRange, kind: Kind, name: String, offset: UInt64) {
    self.range = range
    self.kind = kind
    self.name = name
    self.offset = offset
  }

  /// The command whose answer ``all(inMemoryTree:)`` reads.
  public static let memoryTreeCommand = "info mtree -f"

  /// The readable regions of address space `memory` in the answer to ``memoryTreeCommand``, in its order.
  ///
  /// Registers (`i/o`) and devices' RAM (`ramd`, a passed-through device's own) are left out: reading them has
  /// effects. Throws ``MemoryError/unexpectedAnswer(command:answer:)`` for text without that address space, and for a
  /// line of it that cannot be read; ``MemoryError/noMemory(place:)`` where nothing in it is memory.
  public static func all(inMemoryTree text: String) throws(MemoryError) -> [RAMRegion] {
    var regions: [RAMRegion] = []
    var seen = false
    var inside = false
    for rawLine in text.split(whereSeparator: \.isNewline) {
      let line = rawLine.trimmingSpaces()
      if line.hasPrefix("FlatView #") {
        inside = false
      } else if line.hasPrefix("AS \"memory\",") {
        (inside, seen) = (true, true)
      } else if inside, let comma = line.range(of: " (prio ") {
        guard let region = try region(addresses: line[..<comma.lowerBound], rest: line[comma.upperBound...], line: line)
        else { continue }
        regions.append(region)
      }
    }
    guard seen else { throw .unexpectedAnswer(command: memoryTreeCommand, answer: text) }
    guard !regions.isEmpty else { throw .noMemory(place: "The address space 'memory' of this machine") }
    return regions
  }

  /// One line after `(prio `: `0, ram): pc.ram @00000000000c0000 KVM`. Nil for what is not memory.
  private static func region(
    addresses: Substring, rest: Substring, line: Substring
  ) throws(MemoryError) -> RAMRegion? {
    let bounds = addresses.split(separator: "-")
    guard bounds.count == 2, let start = UInt64(bounds[0], radix: 16), let last = UInt64(bounds[1], radix: 16),
      start <= last, let comma = rest.range(of: ", "), let colon = rest.range(of: "): "),
      comma.upperBound <= colon.lowerBound
    else { throw .unexpectedAnswer(command: memoryTreeCommand, answer: String(line)) }
    guard let kind = Kind(rawValue: String(rest[comma.upperBound..<colon.lowerBound])) else { return nil }
    var words = rest[colon.upperBound...].split(separator: " ")
    // Behind the name: the offset, then with -o an owner and with KVM the accelerator's name.
    var offset: UInt64 = 0
    if let position = words.lastIndex(where: { $0.first == "@" && $0.count == 17 }),
      let value = UInt64(words[position].dropFirst(), radix: 16)
    {
      offset = value
      words.removeSubrange(position...)
    } else if let end = words.dropFirst().firstIndex(where: { $0 == "KVM" || $0.hasPrefix("owner:") }) {
      words.removeSubrange(end...)
    }
    let range = try MemoryRange(start: GPA(start), size: (last &- start) &+ 1)
    return RAMRegion(range: range, kind: kind, name: words.joined(separator: " "), offset: offset)
  }

  /// The command that asks where the region lies in QEMU's own address space.
  public var hostAddressCommand: String { "gpa2hva \(range.start)" }

  /// The address in the answer to ``hostAddressCommand``: `Host virtual address for 0x… (name) is 0x…`.
  ///
  /// Throws ``MemoryError/unexpectedAnswer(command:answer:)`` for a refusal, and for an answer about another address.
  public func hostAddress(in answer: String) throws(MemoryError) -> HVA {
    let refusal = MemoryError.unexpectedAnswer(command: hostAddressCommand, answer: answer)
    for line in answer.split(whereSeparator: \.isNewline) {
      let words = line.split(separator: " ")
      // A name may hold spaces, so the words count from both ends.
      guard words.count >= 7, words[0...3].joined(separator: " ") == "Host virtual address for" else { continue }
      guard words[words.count - 2] == "is", hexadecimal(words[4]) == range.start.rawValue,
        let address = hexadecimal(words[words.count - 1]), address != 0
      else { throw refusal }
      return HVA(address)
    }
    throw refusal
  }
}

/// The value of `0x…`; nil for anything else.
func hexadecimal(_ text: Substring) -> UInt64? {
  let text = text.trimmingSpaces()
  return text.hasPrefix("0x") ? UInt64(text.dropFirst(2), radix: 16) : nil
}

extension Substring {
  /// Without spaces, tabs and carriage returns at both ends.
  func trimmingSpaces() -> Substring {
    guard let first = firstIndex(where: { !$0.isWhitespace }), let last = lastIndex(where: { !$0.isWhitespace })
    else { return "" }
    return self[first...last]
  }

  /// The first place of `text`.
  func range(of text: String) -> Range<Index>? {
    var start = startIndex
    while start < endIndex {
      if self[start...].hasPrefix(text), let end = index(start, offsetBy: text.count, limitedBy: endIndex) {
        return start..<end
      }
      formIndex(after: &start)
    }
    return nil
  }
}
