/// A frame of a backtrace as GDB prints it: `#3  0x… in func (a=1, b=b@entry=2, c=<optimized out>) at ../file.c:123`.
struct Frame: Hashable {
  /// An argument's value.
  enum Value: Hashable {
    /// A number, or a pointer: its 64 bits.
    case number(UInt64)
    /// An enumerator, `true`, or the like.
    case name(String)
    /// `<optimized out>`.
    case optimizedOut
    /// `...`, a structure, text.
    case other
  }

  /// The frame's number.
  let number: Int
  /// The function without the compiler's suffix: `xt_iommu_map` for `xt_iommu_map.constprop.0`.
  let function: String
  /// Arguments by name, as they are at the frame's place in the code.
  let arguments: [String: Value]
  /// Arguments of which only the value at the function's entry was worked out (`paddr@entry=…`). In callers that is a guess from
  /// the call's debug information and known to be wrong, so that nothing is read from it.
  let entryOnly: Set<String>
  /// The source file; empty when it is not known.
  let file: String
  /// Whether the text ended within the arguments.
  let isCut: Bool

  /// The names of all arguments, whatever is known of them.
  var argumentNames: Set<String> { entryOnly.union(arguments.keys) }

  /// The number that the argument `name` has; nil when it is none.
  func number(_ name: String) -> UInt64? {
    if case .number(let value) = arguments[name] { return value }
    return nil
  }
}

extension Frame {
  /// Whether a line can be the start of a frame; with what follows `#N`.
  static func start(_ line: ArraySlice<UInt8>) -> (number: Int, rest: ArraySlice<UInt8>)? {
    var scanner = Scanner(line)
    scanner.skipSpaces()
    guard scanner.take("#") else { return nil }
    let digits = scanner.take(while: \.isDigit)
    guard (1...6).contains(digits.count), let number = Int(digits.text) else { return nil }
    guard scanner.isAtEnd || scanner.next?.isSpace == true else { return nil }
    return (number, scanner.rest.trimmed)
  }

  /// Reads a frame that stands in one line; nil for anything else.
  init?(_ line: ArraySlice<UInt8>) {
    guard let (number, rest) = Self.start(line) else { return nil }
    self.init(number: number, location: rest)
  }

  /// Reads what follows a frame's number, or `Breakpoint 1, `: perhaps an address, then function, arguments and place.
  init?(number: Int, location: ArraySlice<UInt8>) {
    var scanner = Scanner(location)
    var beforeAddress = scanner
    if scanner.take("0x") {
      _ = scanner.take(while: \.isHexDigit)
      scanner.skipSpaces()
      guard scanner.take("in"), scanner.next?.isSpace == true else { return nil }
      scanner.skipSpaces()
      beforeAddress = scanner
    }
    scanner = beforeAddress
    if scanner.take("<signal handler called>") {
      self.init(
        number: number, function: "<signal handler called>", arguments: [:], entryOnly: [], file: "", isCut: false)
      return
    }
    let name = scanner.take { !$0.isSpace && $0 != 0x28 }
    scanner.skipSpaces()
    guard Self.isFunctionName(name), scanner.take("(") else { return nil }
    var reader = ArgumentReader(scanner.rest)
    reader.readAll()
    var place = Scanner(reader.rest)
    place.skipSpaces()
    var file = ""
    if place.take("at ") {
      place.skipSpaces()
      let path = place.take { !$0.isSpace && $0 != 0x3a }
      file = path.text
    }
    self.init(
      number: number, function: name.prefix { $0 != 0x2e }.text, arguments: reader.arguments,
      entryOnly: reader.entryOnly, file: file, isCut: !reader.isClosed)
  }

  /// Whether a word can be a function's name: a C or C++ one, `??`, or with a compiler's suffix.
  static func isFunctionName(_ name: ArraySlice<UInt8>) -> Bool {
    guard let first = name.first, first.isIdentifier && !first.isDigit || name.elementsEqual("??".utf8) else {
      return false
    }
    return name.allSatisfy { $0.isIdentifier || $0 == 0x2e || $0 == 0x3a || $0 == 0x3f || $0 == 0x7e || $0 == 0x24 }
  }
}

/// Splits a frame's arguments: `a=1, b=b@entry=2, c=<optimized out>, d={x = 1, y = "a, b"})`.
private struct ArgumentReader {
  private let bytes: ArraySlice<UInt8>
  private(set) var rest: ArraySlice<UInt8>
  private(set) var arguments: [String: Frame.Value] = [:]
  private(set) var entryOnly: Set<String> = []
  private(set) var isClosed = false

  init(_ bytes: ArraySlice<UInt8>) { (self.bytes, rest) = (bytes, bytes) }

  mutating func readAll() {
    var nesting = Nesting()
    var start = bytes.startIndex
    var position = start
    while position < bytes.endIndex, !isClosed {
      switch nesting.role(of: bytes[position]) {
      case .part: position += 1
      case .end: isClosed = true
      case .separator:
        add(bytes[start..<position])
        position += 1
        start = position
      }
    }
    // What a cut line ends with may be half a value.
    if isClosed { add(bytes[start..<position]) }
    rest = isClosed ? bytes[(position + 1)...] : []
  }

  private mutating func add(_ text: ArraySlice<UInt8>) {
    var scanner = Scanner(text.trimmed)
    guard let name = scanner.identifier() else { return }
    if scanner.take("@entry") {
      // `addr=15, addr@entry=16` tells both; alone it tells the entry's only.
      if arguments[name] == nil { entryOnly.insert(name) }
      return
    }
    scanner.skipSpaces()
    guard scanner.take("=") else { return }
    scanner.skipSpaces()
    // `b=b@entry=2`: the same value now and at the entry.
    _ = scanner.take("\(name)@entry=")
    arguments[name] = Self.value(scanner.rest.trimmed)
    entryOnly.remove(name)
  }

  private static func value(_ text: ArraySlice<UInt8>) -> Frame.Value {
    // A line that was wrapped at a space has lost it.
    let solid = text.prefix(64).filter { !$0.isSpace }[...]
    if solid.elementsEqual("<optimizedout>".utf8) { return .optimizedOut }
    var scanner = Scanner(text)
    if let number = scanner.number(), scanner.isAtWordEnd {
      scanner.skipSpaces()
      // A symbol or text that the pointer leads to may follow.
      if scanner.isAtEnd || [0x3c, 0x22, 0x27].contains(scanner.next) { return .number(number) }
      return .other
    }
    scanner = Scanner(text)
    if let name = scanner.identifier(), scanner.isAtEnd { return .name(name) }
    if solid.first == 0x28, solid.last == 0x29, solid.count <= 32 { return .name(Array(solid)[...].text) }
    return .other
  }
}
