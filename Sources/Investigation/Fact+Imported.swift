// Names of facts that come from texts.

extension Fact {
  /// How the kernel's configuration compares with what the IOMMU and VFIO need: `all as needed`, or what is missing and what
  /// is wrong; said of a list of options rather than a whole configuration, it starts with `excerpt of N options: `.
  public static let configuration = "config"

  /// The device's implementation, where evidence is in its own words or a debugger is on it: `DeviceModel.name`.
  public static let device = "device"

  /// How many calls were verified against captures of the tables that were made later, and against which.
  public static let laterVerification = "verified later"

  /// What the name of a fact about one entry of a table starts with.
  static let entries = "entry "

  /// The content of an imported file, so that it is not taken in twice.
  public static func importedFile(_ name: String) -> String { "imported \(name)" }
}
