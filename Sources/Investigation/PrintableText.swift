/// `text` without what would move a terminal's cursor or turn its text around: names and notes come from the target or
/// from a file that somebody else wrote.
package func printable(_ text: String) -> String {
  if text.utf8.allSatisfy({ 0x20..<0x7f ~= $0 }) { return text }
  return String(String.UnicodeScalarView(text.unicodeScalars.map { isPrintable($0) ? $0 : "\u{fffd}" }))
}

/// Neither a control character nor an invisible one.
package func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
  switch scalar.properties.generalCategory {
  case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned: false
  default: true
  }
}
