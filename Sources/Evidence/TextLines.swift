import Foundation
import Investigation

/// A text as bytes, cut into lines. Nothing is assumed of it: neither UTF-8 nor any length.
struct TextLines {
  private let bytes: [UInt8]
  private let ranges: [Range<Int>]
  private let progress: WorkProgress?
  /// Lines that are read as if they were empty, by their numbers.
  private let leftOut: [ClosedRange<Int>]

  /// The lines of `bytes`, without those with the numbers in `leftOut`; LF or CRLF ends one. `progress` is told how many were
  /// read.
  init(_ bytes: [UInt8], leavingOut leftOut: [ClosedRange<Int>] = [], progress: WorkProgress? = nil) {
    self.leftOut = leftOut
    var ranges: [Range<Int>] = []
    bytes.withUnsafeBytes { buffer in
      guard let base = buffer.baseAddress else { return }
      var start = 0
      while start < buffer.count {
        let found = memchr(base + start, 0x0a, buffer.count - start)
        var end = found.map { base.distance(to: UnsafeRawPointer($0)) } ?? buffer.count
        let next = end + 1
        if end > start, buffer[end - 1] == 0x0d { end -= 1 }
        ranges.append(start..<end)
        start = next
      }
    }
    self.bytes = bytes
    self.ranges = ranges
    self.progress = progress
  }

  /// How many lines there are.
  var count: Int { ranges.count }

  /// Whether nobody wants the lines from `index` on any more: what reads line by line asks before each.
  func isStopped(at index: Int) -> Bool { progress?.stops("reading lines", at: index, of: count) ?? false }

  /// The line at `index`, 0 for the first; empty beyond the end.
  subscript(index: Int) -> ArraySlice<UInt8> {
    ranges.indices.contains(index) && !isLeftOut(index) ? bytes[ranges[index]] : []
  }

  /// Whether the line at `index` is left out.
  func isLeftOut(_ index: Int) -> Bool { leftOut.contains { $0.contains(number(index)) } }

  /// The number of the line at `index`, as editors count.
  func number(_ index: Int) -> Int { index + 1 }
}

extension ArraySlice<UInt8> {
  /// The bytes as text; what is not UTF-8 is replaced.
  var text: String { String(decoding: self, as: UTF8.self) }

  /// Without spaces and tabs around it.
  var trimmed: ArraySlice<UInt8> {
    let front = drop { $0.isSpace }
    guard let last = front.lastIndex(where: { !$0.isSpace }) else { return [] }
    return front[...last]
  }

  /// Whether nothing but spaces is in it.
  var isBlank: Bool { allSatisfy(\.isSpace) }

  /// Whether it starts with `prefix`.
  func hasPrefix(_ prefix: String) -> Bool { starts(with: prefix.utf8) }

  /// Whether it ends with `suffix`.
  func hasSuffix(_ suffix: String) -> Bool { self.suffix(suffix.utf8.count).elementsEqual(suffix.utf8) }

  /// Where `word` first stands; nil when it does not.
  func position(of word: String) -> Int? {
    var word = word
    return word.withUTF8 { needle -> Int? in
      withUnsafeBytes { buffer -> Int? in
        guard let base = buffer.baseAddress, let target = needle.baseAddress, let first = needle.first else {
          return nil
        }
        var start = 0
        // `memmem` would do, but is not everywhere.
        while buffer.count - start >= needle.count,
          let found = memchr(base + start, Int32(first), buffer.count - start - needle.count + 1)
        {
          let offset = base.distance(to: UnsafeRawPointer(found))
          if memcmp(found, target, needle.count) == 0 { return startIndex + offset }
          start = offset + 1
        }
        return nil
      }
    }
  }

  /// Whether `word` stands in it.
  func contains(word: String) -> Bool { position(of: word) != nil }
}

extension UInt8 {
  /// A space or a tab.
  var isSpace: Bool { self == 0x20 || self == 0x09 }
  /// 0 to 9.
  var isDigit: Bool { 0x30...0x39 ~= self }
  /// 0 to 9, a to f, A to F.
  var isHexDigit: Bool { isDigit || 0x61...0x66 ~= self | 0x20 }
  /// What a C identifier may hold.
  var isIdentifier: Bool { isDigit || 0x61...0x7a ~= self | 0x20 || self == 0x5f }
}
