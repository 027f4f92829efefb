//! The recovery sheet: what is printed once and put in a safe, as text and as SVG with a QR code.
//!
//! The sheet holds the recovery code of one key, in clear: whoever has sheet *and* key file has the key. What does not
//! belong: writing files, making codes.

use peri_seal::keys::UserPublic;
use peri_seal::words::words;
use qrcode::render::svg;
use qrcode::{EcLevel, QrCode};

/// The contents of one sheet.
pub struct Sheet<'a> {
    /// Name of the key in its home.
    pub name: &'a str,
    /// What it is for.
    pub kind: String,
    /// Public halves, for the fingerprint.
    pub public: &'a UserPublic,
    /// When it was made, as text.
    pub created: String,
    /// The recovery code in groups.
    pub code: &'a str,
    /// The login name, where there is one: then the code works on any device.
    pub login: Option<&'a str>,
}

impl Sheet<'_> {
    /// As text of at most 78 columns.
    #[must_use]
    pub fn text(&self) -> String {
        let fingerprint = words(&self.public.fingerprint());
        let how = match self.login {
            Some(login) => format!(
                "On any device that trusts the appliance the code brings the key back, once;\n\
                 you get a new sheet then:\n\n    peri recover {login}\n\n\
                 Keep the sheet in a safe. Who has it and the login name, has the key.\n"
            ),
            None => format!(
                "With this code and the key file (in the home directory under keys, or its\n\
                 backup) the key opens without password:\n\n    peri key recover {}\n\n\
                 Keep the sheet in a safe, apart from backups. Who has both, has the key.\n",
                self.name
            ),
        };
        format!(
            "PERI RECOVERY SHEET\n\
             ===================\n\n\
             Key:          {name} ({kind})\n\
             Made:         {created}\n\
             Fingerprint:  {first}\n              {second}\n\n\
             Recovery code\n\n    {code}\n\n{how}",
            name = self.name,
            kind = self.kind,
            created = self.created,
            first = fingerprint[..5].join(" "),
            second = fingerprint[5..].join(" "),
            code = self.code,
        )
    }

    /// As one SVG page (A5 at 96 dpi) with the code as QR.
    #[must_use]
    pub fn svg(&self) -> String {
        let code = QrCode::with_error_correction_level(self.code.as_bytes(), EcLevel::Q)
            .expect("a recovery code of under 100 characters fits the smallest dozen QR versions");
        let image = code.render::<svg::Color<'_>>().min_dimensions(220, 220).build();
        // The renderer opens with an XML declaration, which may stand only at the start of a document.
        let image = image.find("<svg").map_or(image.as_str(), |at| &image[at..]);
        let lines: String = self
            .text()
            .lines()
            .enumerate()
            .map(|(i, line)| {
                format!("<text x=\"24\" y=\"{}\" xml:space=\"preserve\">{}</text>\n", 40 + 18 * i, escape(line))
            })
            .collect();
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"794\" height=\"640\" viewBox=\"0 0 794 640\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <g font-family=\"monospace\" font-size=\"14\">\n{lines}</g>\n\
             <g transform=\"translate(287 390)\">{image}</g>\n</svg>\n"
        )
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use peri_seal::keys::KeyPair;
    use peri_seal::rng;

    #[test]
    fn the_sheet_carries_code_and_fingerprint_and_one_xml_document() {
        let pair = KeyPair::generate(&mut rng::system());
        let sheet = Sheet {
            name: "works-council",
            kind: "seat".into(),
            public: pair.public(),
            created: "2026-11-24T22:10:00.000Z".into(),
            code: "ABCD-EFGH-JKMN-PQRS",
            login: None,
        };
        let anywhere =
            Sheet { login: Some("anna@example.org"), kind: "viewer".into(), created: String::new(), ..sheet };
        assert!(anywhere.text().contains("peri recover anna@example.org"));
        let sheet = Sheet { login: None, kind: "seat".into(), created: "2026-11-24T22:10:00.000Z".into(), ..anywhere };
        let text = sheet.text();
        assert!(text.contains("ABCD-EFGH-JKMN-PQRS"));
        assert!(words(&pair.fingerprint()).iter().all(|word| text.contains(word)));
        assert!(text.lines().all(|line| line.len() <= 78));
        let svg = sheet.svg();
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
        assert!(!svg.contains("<?xml"));
        assert_eq!(svg.matches("<svg").count(), 2, "page and QR code");
    }
}
