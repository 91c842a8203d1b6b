//! Secrets in a section: what is written says where they are.

use super::Section;
use crate::base::secret::Secret;
use crate::reader::Located;
use crate::reader::secret::{self, Refusal};
use crate::reader::tree::{Kind, Node};

impl Section<'_> {
    /// A secret, which is written as `"env:NAME"`, `"file:PATH"` (from the folder of the file) or `"credential:NAME"`
    /// (systemd's), and read from there. What is written in its place is never shown.
    pub fn secret(&self, key: &str) -> Option<Secret<String>> {
        self.document.conceal(&self.kind, key, secret::HOW);
        self.resolve(key, &self.get(key)?.value)
    }

    /// A list of secrets, each written as [`Section::secret`] has it, with its place. Those that cannot be read are left
    /// out.
    pub fn secrets(&self, key: &str) -> Option<Vec<Located<Secret<String>>>> {
        self.document.conceal(&self.kind, key, secret::HOW);
        let value = &self.get(key)?.value;
        let Kind::List(items) = &value.kind else {
            value.all_spans(&mut self.document.notes.borrow_mut().hidden);
            return self.wrong(key, value, "a list of texts", format!("write {key} = [\"file:PATH\"]"));
        };
        let read = |item| Some(Located { value: self.resolve(key, item)?, span: item.span.clone() });
        Some(items.iter().filter_map(read).collect())
    }

    fn resolve(&self, key: &str, value: &Node) -> Option<Secret<String>> {
        let hide = || value.all_spans(&mut self.document.notes.borrow_mut().hidden);
        let Kind::Text(text) = &value.kind else {
            hide();
            return self.wrong(key, value, "a text", secret::HOW.to_owned());
        };
        if let Some(file) = secret::file_of(text, self.document.folder()) {
            self.document.reads(&file);
        }
        match secret::resolve(text, self.document.folder()) {
            Ok(secret) => Some(secret),
            Err(Refusal::NotAReference) => {
                hide();
                self.mistake(&value.span, format!("\"{key}\" must not hold the secret itself"), secret::HOW);
                None
            }
            Err(Refusal::Unresolved(message, help)) => {
                self.mistake(&value.span, message, help);
                None
            }
        }
    }
}
