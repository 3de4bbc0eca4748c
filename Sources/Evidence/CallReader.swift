import IOMMUModel
import Investigation

/// Finds a driver's map or unmap call in a backtrace.
struct CallReader {
  /// The drivers that are known.
  let profiles: [any DriverProfile]

  /// What a backtrace with such a function gave.
  enum Result {
    /// The call, the profile it fits, and what must be said about it.
    case call(RecordedCall, profile: String, remarks: [String])
    /// Why it cannot be told: a sentence.
    case refused(String)
  }

  /// The call in `trace`; nil when none of the drivers' functions is in it.
  func read(_ trace: Backtrace, origin: String) -> Result? {
    guard
      let position = trace.frames.firstIndex(where: { frame in
        profiles.contains { $0.functions.contains { $0.symbol == frame.function } }
      })
    else { return nil }
    let frame = trace.frames[position]
    guard let (profile, function) = variant(frame) else { return .refused(unknownSignature(frame)) }
    let above = trace.frames.indices.contains(position + 1) ? trace.frames[position + 1] : nil
    var values: [String: UInt64] = [:]
    var borrowed: [String] = []
    var missing: [String] = []
    for parameter in function.parameters {
      if let value = frame.number(parameter) {
        values[parameter] = value
      } else if !function.optional.contains(parameter) {
        // Only the caller itself may still know it, and only as it is there now: see `Frame.entryOnly`.
        if let value = above?.number(parameter) {
          values[parameter] = value
          borrowed.append(parameter)
        } else {
          missing.append(parameter)
        }
      }
    }
    guard missing.isEmpty else { return .refused(Self.incomplete(frame, missing: missing)) }
    let call: DriverCall
    do { call = try profile.call(function, named: values) } catch { return .refused("\(error)") }
    var remarks: [String] = []
    if let above, !borrowed.isEmpty {
      remarks.append(
        "\(list(borrowed)) \(borrowed.count == 1 ? "is" : "are") not known in \(frame.function) and was taken from its "
          + "caller \(above.function).")
    }
    let recorded = RecordedCall(
      number: 0, call: call, root: nil, requester: nil, callers: trace.callers(of: position), origin: origin)
    return .call(recorded, profile: profile.identifier, remarks: remarks)
  }

  /// The variant of the driver whose parameters the frame has.
  private func variant(_ frame: Frame) -> (any DriverProfile, DriverFunction)? {
    let names = frame.argumentNames
    var best: (profile: any DriverProfile, function: DriverFunction, overlap: Int)?
    for profile in profiles {
      for function in profile.functions where function.symbol == frame.function {
        let needed = Set(function.parameters).subtracting(function.optional)
        let overlap = names.intersection(function.parameters).count
        if needed.isSubset(of: names), overlap > best?.overlap ?? -1 { best = (profile, function, overlap) }
      }
    }
    return best.map { ($0.profile, $0.function) }
  }

  private func unknownSignature(_ frame: Frame) -> String {
    if frame.isCut { return "\(frame.function) cannot be recorded because its arguments are cut off." }
    if frame.argumentNames.isEmpty {
      return "\(frame.function) cannot be recorded because its arguments were not printed: "
        + "`set print frame-arguments scalars` prints them."
    }
    return "\(frame.function) cannot be recorded because no known variant of the driver has the parameters "
      + "\(frame.argumentNames.sorted().joined(separator: ", "))."
  }

  private static func incomplete(_ frame: Frame, missing: [String]) -> String {
    let isOptimizedOut = missing.allSatisfy {
      frame.arguments[$0] == .optimizedOut || frame.arguments[$0] == nil && frame.entryOnly.contains($0)
    }
    let verb = missing.count == 1 ? "is" : "are"
    let why = isOptimizedOut ? "\(verb) optimized out" : "\(verb) not printed as a number"
    return "\(frame.function) cannot be recorded because \(list(missing)) \(why); the arguments are known at the "
      + "function's first instruction."
  }
}

/// `` `a` ``, `` `a` and `b` ``, `` `a`, `b` and `c` ``.
func list(_ names: [String]) -> String {
  let quoted = names.map { "`\($0)`" }
  guard let last = quoted.last, quoted.count > 1 else { return quoted.first ?? "" }
  return quoted.dropLast().joined(separator: ", ") + " and " + last
}
