//! Is the session one of the tenant that is asked for?

use std::ops::ControlFlow;

use crate::policy::check::Unusable;
use crate::policy::trace::Trace;
use crate::policy::verdict::Reason;
use crate::session::live::SessionView;
use crate::session::tenant::TenantId;

/// A session is none at another tenant than the one it was made at: neither what it may do counts there nor why it ended.
pub fn own(session: &SessionView<'_>, asked: TenantId, trace: &mut impl Trace) -> ControlFlow<Unusable> {
    if session.tenant == asked {
        return ControlFlow::Continue(());
    }
    trace.step("tenant", "another's");
    ControlFlow::Break(Unusable::as_is(Reason::UnknownSession))
}
