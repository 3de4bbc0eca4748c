/// Follows parentheses, brackets, braces and quotes through a frame's arguments.
struct Nesting {
  /// What a byte is to the arguments.
  enum Role {
    /// Part of one.
    case part
    /// The comma between two.
    case separator
    /// The parenthesis that closes them.
    case end
  }

  private var depth = 0
  private var quote: UInt8?
  private var isEscaped = false

  /// The role of the next byte.
  mutating func role(of byte: UInt8) -> Role {
    if let open = quote {
      if isEscaped {
        isEscaped = false
      } else if byte == 0x5c {
        isEscaped = true
      } else if byte == open {
        quote = nil
      }
      return .part
    }
    switch byte {
    case 0x22, 0x27: quote = byte
    case 0x28, 0x5b, 0x7b: depth += 1
    case 0x29 where depth == 0: return .end
    case 0x29, 0x5d, 0x7d: depth = max(0, depth - 1)
    case 0x2c where depth == 0: return .separator
    default: break
    }
    return .part
  }
}
