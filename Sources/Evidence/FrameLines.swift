/// One frame out of one or more lines: terminals and mail programs break long ones, in the middle of a word too.
struct FrameLines {
  /// The frame; nil when its lines make none.
  let frame: Frame?
  /// The first line after it.
  let end: Int
  /// Whether GDB told of a stop there (`Breakpoint 1, func (a=1) at file.c:3`), so that no frames follow.
  let isStop: Bool

  /// Lines that a frame may take, and bytes: a frame of a kernel has some hundred.
  private static let limit = (lines: 48, bytes: 1 << 16)

  /// The frame that starts in line `start`; nil when none does.
  init?(at start: Int, in text: TextLines) {
    let stop = Self.stop(text[start])
    // Only where the frame itself is quoted: a piece of it may start with the end of `<optimized out>`.
    let isQuoted = text[start].first == 0x3e
    func line(_ index: Int) -> ArraySlice<UInt8> { isQuoted ? unquoted(text[index]) : text[index] }
    let first = stop.map { (Array("#0  ".utf8) + $0)[...] } ?? unquoted(text[start])
    guard let (number, rest) = Frame.start(first), Self.canStart(rest, next: line(start + 1)) else {
      return nil
    }
    isStop = stop != nil
    guard first.count < Self.limit.bytes else { return nil }
    var joined = Array(first.trimmed)
    var end = start + 1
    while end - start < Self.limit.lines, joined.count < Self.limit.bytes {
      let next = line(end)
      let phase = Phase(joined[...])
      guard end < text.count, phase.accepts(next) else { break }
      Self.append(next, to: &joined, hadSpace: line(end - 1).last?.isSpace == true, phase: phase)
      end += 1
    }
    let whole = Frame(joined[...])
    if let whole, !whole.isCut {
      (frame, self.end) = (whole, end)
    } else {
      // What followed was no continuation: the first line stands alone.
      frame = Frame(number: number, location: rest)
      self.end = start + 1
    }
  }

  /// What follows `Breakpoint 1, `, also of a thread; nil for any other line.
  private static func stop(_ line: ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
    guard let position = line.prefix(256).position(of: "reakpoint ") else { return nil }
    let before = line[..<position].trimmed
    let kinds = ["B", "Temporary b", "hit B", "hit Temporary b", "Hardware assisted b", "hit Hardware assisted b"]
    guard kinds.contains(before.text) || before.hasPrefix("Thread ") && kinds.contains(where: { before.hasSuffix($0) })
    else { return nil }
    var scanner = Scanner(line[position...])
    _ = scanner.take("reakpoint ")
    _ = scanner.take { $0.isDigit || $0 == 0x2e }
    guard scanner.take(",") else { return nil }
    return scanner.rest.trimmed
  }

  /// Whether what follows `#N` starts a frame, rather than a remark or a heading.
  private static func canStart(_ rest: ArraySlice<UInt8>, next: ArraySlice<UInt8>) -> Bool {
    if rest.elementsEqual("0".utf8) { return next.hasPrefix("x") }
    if rest.hasPrefix("0x") || rest.hasPrefix("<signal handler called>") { return true }
    var scanner = Scanner(rest)
    let name = scanner.take { !$0.isSpace && $0 != 0x28 }
    if name.isEmpty { return next.trimmed.hasPrefix("0x") || Frame.isFunctionName(next.trimmed) }
    guard Frame.isFunctionName(name) else { return false }
    scanner.skipSpaces()
    return scanner.next == 0x28 || scanner.isAtEnd && (next.trimmed.first == 0x28 || next.contains(word: "("))
  }

  private static func append(_ next: ArraySlice<UInt8>, to joined: inout [UInt8], hadSpace: Bool, phase: Phase) {
    if hadSpace || next.first?.isSpace == true || phase.endsWithWord(before: next) { joined.append(0x20) }
    joined += next.trimmed
  }

  /// How far a frame's text has come, which tells what a line break stood for.
  private enum Phase {
    /// `#12`.
    case number
    /// `#12  0xffffff`; the digits.
    case address(digits: Int)
    /// Between the address and the function: `i`, `in`.
    case keyword(complete: Bool)
    /// In the function's name.
    case function
    /// Between the parentheses.
    case arguments
    /// Behind them: nothing, `a`, `at`.
    case preposition(String)
    /// In the file's name, and whether its line number has begun.
    case file(hasLine: Bool, awaitsLine: Bool)

    init(_ text: ArraySlice<UInt8>) {
      var scanner = Scanner(text)
      _ = scanner.take("#")
      _ = scanner.take(while: \.isDigit)
      scanner.skipSpaces()
      if scanner.isAtEnd {
        self = .number
        return
      }
      if scanner.take("0x") {
        let digits = scanner.take(while: \.isHexDigit).count
        scanner.skipSpaces()
        if scanner.isAtEnd {
          self = .address(digits: digits)
          return
        }
        let word = scanner.take { !$0.isSpace }
        if scanner.isAtEnd, word.count <= 2 {
          self = .keyword(complete: word.count == 2)
          return
        }
        scanner.skipSpaces()
      }
      guard scanner.skip(past: "(") else {
        self = .function
        return
      }
      guard let end = Self.closing(scanner.rest) else {
        self = .arguments
        return
      }
      var place = Scanner(text[end...])
      place.skipSpaces()
      let word = place.take { !$0.isSpace }
      place.skipSpaces()
      if place.isAtEnd && word.count <= 4 {
        self = .preposition(word.text)
        return
      }
      let path = place.rest
      let digits = path.reversed().prefix { $0.isDigit }.count
      let colon = path.dropLast(digits).last == 0x3a
      self = .file(hasLine: colon && digits > 0, awaitsLine: colon && digits == 0)
    }

    /// Behind the parenthesis that closes the arguments; nil while it is missing.
    private static func closing(_ text: ArraySlice<UInt8>) -> Int? {
      var nesting = Nesting()
      for (offset, byte) in zip(text.indices, text) where nesting.role(of: byte) == .end { return offset + 1 }
      return nil
    }

    /// Whether `line` can be what was broken off here.
    func accepts(_ line: ArraySlice<UInt8>) -> Bool {
      let trimmed = line.trimmed
      if trimmed.isEmpty || Frame.start(line) != nil || trimmed.hasPrefix("(gdb)") || trimmed.first == 0x5b {
        return false
      }
      switch self {
      case .number, .address, .keyword, .function: return true
      // A piece of arguments has an equals sign or the like, or no space; a sentence has neither.
      case .arguments:
        return trimmed.allSatisfy { $0 < 0x80 }
          && (trimmed.contains { [0x3d, 0x2c, 0x29, 0x3c, 0x3e].contains($0) } || !trimmed.contains(where: \.isSpace))
      case .preposition(let word):
        let candidates = ["at ", "from "]
        if word.isEmpty { return candidates.contains { trimmed.hasPrefix($0) } || trimmed.elementsEqual("at".utf8) }
        return candidates.contains { $0.hasPrefix(word) }
      case .file(let hasLine, let awaitsLine):
        if hasLine { return false }
        if awaitsLine { return trimmed.allSatisfy(\.isDigit) }
        // A piece of a path has one of these, and no space.
        return trimmed.contains { [0x2e, 0x2f, 0x3a, 0x2d, 0x5f].contains($0) }
          && trimmed.allSatisfy { $0.isIdentifier || [0x2e, 0x2f, 0x3a, 0x2d, 0x2b].contains($0) }
      }
    }

    /// Whether a word ended where the line did, although its space is gone.
    func endsWithWord(before next: ArraySlice<UInt8>) -> Bool {
      switch self {
      case .number: true
      case .address(let digits): digits >= 16 || next.hasPrefix("in ")
      case .keyword(let complete): complete
      case .function, .arguments, .file: false
      case .preposition(let word): ["", "at", "from"].contains(word)
      }
    }
  }
}

/// A line without the marks of a mail that quotes it.
func unquoted(_ line: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
  var scanner = Scanner(line)
  while scanner.next == 0x3e {
    _ = scanner.take(">")
    _ = scanner.take(" ")
  }
  return scanner.rest
}
