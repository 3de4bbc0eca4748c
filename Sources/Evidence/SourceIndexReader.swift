import Investigation

/// Reads the lines of a driver's source that compute a table's index: `vpn2_idx = (iova >> PGDIR_SHIFT) & MASK;`.
struct SourceIndexReader: LineReader {
  /// The text's name.
  let name: String

  func read(at start: Int, of text: TextLines) -> Reading? {
    guard let index = index(text[start], line: text.number(start)) else { return nil }
    return Reading(
      end: start + 1, [Finding(lines: text.numbers(start..<start + 1), evidence: .sourceIndex(index))])
  }

  private func index(_ line: ArraySlice<UInt8>, line number: Int) -> SourceIndex? {
    guard line.count < 512, line.contains(word: ">>") else { return nil }
    var scanner = Scanner(line)
    scanner.skipSpaces()
    // Of `u64 idx = …` the last word before the sign is the name.
    var name: String?
    while let word = scanner.identifier() {
      name = word
      scanner.skipSpaces()
    }
    guard let name, scanner.take("="), scanner.next != 0x3d else { return nil }
    scanner.skipSpaces()
    guard scanner.take("(") else { return nil }
    scanner.skipSpaces()
    guard let operand = scanner.identifier() else { return nil }
    scanner.skipSpaces()
    guard scanner.take(">>"), let shift = Self.word(&scanner), scanner.take(")") else { return nil }
    scanner.skipSpaces()
    guard scanner.take("&"), scanner.next != 0x26, let mask = Self.word(&scanner) else { return nil }
    guard scanner.isAtEnd || scanner.take(";") else { return nil }
    return SourceIndex(name: name, operand: operand, shift: shift, mask: mask, origin: "\(self.name):\(number)")
  }

  /// A constant's name or a number, with the spaces around it.
  private static func word(_ scanner: inout Scanner) -> String? {
    scanner.skipSpaces()
    let word = scanner.take(while: \.isIdentifier)
    scanner.skipSpaces()
    return word.isEmpty ? nil : word.text
  }
}
