// A translation written a second time, from the specification's text alone and in another manner: numbers are lists of
// bits, tables a dictionary of words, and what is wrong with an entry is a set of phrases. It shares nothing with the
// product, is slow, and is always asked for one page.

/// Bits, the lowest first.
typealias Bits = [Bool]

func bits(_ number: UInt64, _ count: Int = 64) -> Bits {
  var rest = number
  var bits: Bits = []
  bits.reserveCapacity(count)
  while bits.count < count {
    bits.append(rest % 2 == 1)
    rest /= 2
  }
  return bits
}

func number(_ bits: ArraySlice<Bool>) -> UInt64 {
  var number: UInt64 = 0
  var position = bits.endIndex
  while position > bits.startIndex {
    position -= 1
    number = number * 2 + (bits[position] ? 1 : 0)
  }
  return number
}

func number(_ bits: Bits) -> UInt64 { number(bits[...]) }

struct Oracle {
  enum Answer: Equatable {
    /// Where the IOVA goes, the leaf's flags (lowest bit V) and memory type, and the leaf's size as a power of two.
    case page(UInt64, flags: UInt64, pbmt: UInt64, size_lg2: Int)
    case hole(level: Int)
    /// An entry that is wrong in one of these ways, and which IOVAs share it.
    case wrong(level: Int, entryAddress: UInt64, entry: UInt64, phrases: Set<String>, region: ClosedRange<UInt64>)
    case unreadable(level: Int, page: UInt64, region: ClosedRange<UInt64>)
    case notCanonical
  }

  /// The widths of a mode's fields above the page offset, root first.
  static let fields: [String: [Int]] = [
    "sv32": [10, 10], "sv39": [9, 9, 9], "sv48": [9, 9, 9, 9], "sv57": [9, 9, 9, 9, 9],
    "sv39x4": [11, 9, 9], "sv48x4": [11, 9, 9, 9], "sv57x4": [11, 9, 9, 9, 9],
  ]

  let mode: String
  let root: UInt64
  /// Entries that are not zero, by their address.
  let words: [UInt64: UInt64]
  /// Pages that exist.
  let pages: Set<UInt64>

  var widths: [Int] { Oracle.fields[mode] ?? [] }
  var inputBits: Int { widths.reduce(12, +) }
  private var isExtended: Bool { ["sv39", "sv48", "sv57"].contains(mode) }

  /// The IOVA whose input bits are `input`.
  func canonical(_ input: UInt64) -> UInt64 {
    let low = bits(input, inputBits)
    return number(low + Bits(repeating: isExtended && low[inputBits - 1], count: 64 - inputBits))
  }

  func translate(_ iova: UInt64) -> Answer {
    let address = bits(iova)
    guard canonical(number(address[0..<inputBits])) == iova else { return .notCanonical }
    return descend(table: root, address: address, top: inputBits, widths: widths)
  }

  /// The IOVAs that have `address`'s bits from `low` on.
  private func region(_ address: Bits, low: Int) -> ClosedRange<UInt64> {
    // The root of a sign-extended mode translates both halves, and the gap between them lies in the middle.
    if isExtended && low >= inputBits { return 0...UInt64.max }
    let (zeros, ones) = (Bits(repeating: false, count: low), Bits(repeating: true, count: low))
    return number(zeros + address[low...])...number(ones + address[low...])
  }

  private func descend(table: UInt64, address: Bits, top: Int, widths: [Int]) -> Answer {
    let level = widths.count - 1
    let low = top - widths[0]
    let entryBytes: UInt64 = mode == "sv32" ? 4 : 8
    let entryAddress = table + number(address[low..<top]) * entryBytes
    let page = entryAddress / 4096 * 4096
    guard pages.contains(page) else {
      // A page of a table holds 2^9 entries, in Sv32 2^10; the root of a second stage is four pages.
      return .unreadable(level: level, page: page, region: region(address, low: low + (mode == "sv32" ? 10 : 9)))
    }
    let raw = words[entryAddress] ?? 0
    let entry = bits(raw)
    let (v, r, w, x) = (entry[0], entry[1], entry[2], entry[3])
    guard v else { return .hole(level: level) }

    let ppn = mode == "sv32" ? entry[10..<32] : entry[10..<54]
    let (reserved, pbmt, n) = (entry[54..<61], number(entry[61..<63]), entry[63])
    let isLeaf = r || x
    var phrases: Set<String> = []
    if w && !r { phrases.insert("W without R") }
    if reserved.contains(true) {
      let inPlace = number(Bits(repeating: false, count: 54) + Bits(reserved))
      phrases.insert("reserved bits 0x\(String(inPlace, radix: 16)) set")
    }
    let lowBits = "0x" + String(number(ppn.prefix(4)), radix: 16)
    if isLeaf {
      if pbmt == 3 { phrases.insert("reserved PBMT 3") }
      if n && (level > 0 || lowBits != "0x8") { phrases.insert("N with low PPN bits \(lowBits)") }
      let below = number(ppn.prefix(low - 12))
      if below != 0 { phrases.insert("superpage with low PPN bits 0x\(String(below, radix: 16))") }
    } else if !w {
      if level == 0 { phrases.insert("no R, W or X at level 0") }
      let letters = [(4, "U"), (6, "A"), (7, "D")].filter { entry[$0.0] }.map { $0.1 }
      if !letters.isEmpty { phrases.insert(letters.joined(separator: " ") + " in a pointer") }
      if pbmt != 0 { phrases.insert("reserved PBMT \(pbmt)") }
      if n { phrases.insert("N with low PPN bits \(lowBits)") }
    }
    guard phrases.isEmpty else {
      return .wrong(
        level: level, entryAddress: entryAddress, entry: raw, phrases: phrases, region: region(address, low: low))
    }
    if isLeaf {
      let kept = n ? 16 : low
      let target = Bits(address[0..<kept]) + (Bits(repeating: false, count: 12) + ppn)[kept...]
      return .page(number(target), flags: number(entry[0..<8]), pbmt: pbmt, size_lg2: kept)
    }
    let next = number(Bits(repeating: false, count: 12) + ppn)
    return descend(table: next, address: address, top: low, widths: Array(widths.dropFirst()))
  }
}
